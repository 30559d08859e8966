/*
 * page_child.h - the process that serves the page and the metrics over HTTP, as the supervisor sees it:
 * there while the configuration has `admin ADDR:PORT`, replaced when it dies, told of a reload.
 */
#ifndef CHILDREN_PAGE_CHILD_H
#define CHILDREN_PAGE_CHILD_H

#include "base/addr.h"
#include "children/child.h"
#include "children/workers.h"
#include "ipc/admin_socket.h"

struct history;

/* What it reports. */
struct page_events {
	void (*client)(void *arg, int fd, const struct addr *from); /* one that may steer; fd is taken */
	void (*wants_tcp_info)(void *arg);                          /* a reader wants what TCP says */
};

struct page_child {
	/* handed to it */
	struct workers *workers;
	const struct admin_sockets *sockets;
	const char *config_path;
	const struct page_events *events;
	void *arg;
	/* its own */
	struct child child;
	pid_t supervisor_pid;
	char *points;            /* that it serves, as text */
	struct history *history; /* shared with it; NULL: there never was one */
};

/* The loop is there. */
void page_child_init(struct page_child *p);
/* Nothing to serve: nothing happens. */
void page_child_start(struct page_child *p);
/* A new configuration is in force. */
void page_child_reload(struct page_child *p);
void page_child_died(struct page_child *p, int status);
/* Ends it, at once. */
void page_child_stop(struct page_child *p);

#endif
