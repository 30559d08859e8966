/*
 * dump.h - --dump: a process of its own shows all bytes of all connections; the supervisor reads none of them.
 */
#ifndef CHILDREN_DUMP_H
#define CHILDREN_DUMP_H

#include "children/again.h"
#include "children/workers.h"
#include "os/sock.h"

struct dump {
	/* handed to it */
	struct workers *workers;
	const char *path; /* absolute; NULL: stderr */
	/* its own */
	int fd; /* where to write; -1: it is not wanted, or has begun */
	struct again again;
	pid_t pid;                    /* 0: there is none */
	uint64_t number;              /* of its tap */
	int n, fds[SOCK_MAX_FDS + 1]; /* as from tap_new(); [0] is the process's alone */
};

/* It is wanted: opens what it writes to, while we are still root. False: cannot be, which was said. */
bool dump_open(struct dump *d);
/* Starts the process, before there are workers, or as soon as it can be. */
void dump_start(struct dump *d);
/* A worker begins, and has no listeners yet. */
void dump_tell(const struct dump *d, struct worker *w);
/* The process has ended. */
void dump_lost(struct dump *d);
/* Waits for its end, which follows that of the workers. */
void dump_wait(struct dump *d);

#endif
