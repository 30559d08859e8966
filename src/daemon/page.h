/*
 * page.h - the process that serves the page and the metrics over HTTP, as the supervisor sees it:
 * there while the configuration has `admin ADDR:PORT`, replaced when it dies, told of a reload.
 */
#ifndef DAEMON_PAGE_H
#define DAEMON_PAGE_H

#include <sys/types.h>
#include "event/loop.h"

struct supervisor;
struct history;

struct page {
	pid_t pid; /* 0: there is none */
	struct watch control;
	struct timer timer;
	int64_t started_ms;
	char *points;            /* that it serves, as text */
	struct history *history; /* shared with it; NULL: there never was one */
};

/* Nothing to serve: nothing happens. */
void page_start(struct supervisor *s);
/* A new configuration is in force. */
void page_reload(struct supervisor *s);
void page_died(struct supervisor *s, int status);
/* Ends it, at once. */
void page_stop(struct supervisor *s);

#endif
