/*
 * keeper.h - the three processes that share one descriptor table, and who replaces whom.
 *
 *   member          watches                     does
 *   primary keeper  worker, spare, supervisor   clones whichever of the two died
 *   spare keeper    primary, supervisor         becomes primary, clones a new spare
 *   worker          both keepers, supervisor    only if both are dead: clones keeper 0
 *
 * The fuser rule: the supervisor and a member dead within one second of each other, in either
 * order: somebody wants us gone, so all end. Otherwise whoever died is replaced.
 */
#ifndef TAKEOVER_KEEPER_H
#define TAKEOVER_KEEPER_H

#include "takeover/table.h"

struct trio_setup {
	struct trio *trio;
	int supervisor_pidfd;    /* in the trio's table */
	void (*worker)(void *arg); /* the worker's life; returns when it is to end in order */
	/* A member begins that may descend from a worker: lets go of the memory that one had. May be NULL. */
	void (*forget)(void);
	void *arg;
};

/* In a fresh child of the supervisor, whose table holds only the trio's descriptors: becomes
 * keeper 0, clones the others, never returns. */
_Noreturn void trio_run(const struct trio_setup *setup);

/* In a process that was the primary keeper and has become another program (see renew.c): its table is a copy of the
 * trio's, which the old spare still holds. Clones a spare and a worker of its own program, ends the old spare, never
 * returns. Dies it before it is committed, the old spare goes on with the old program. */
_Noreturn void trio_continue(const struct trio_setup *setup);
/* For the worker: the trio is to become the program in t->binary_fd. The worker returns after this; its end is the
 * signal. */
void trio_want_renewal(void);

/* For the worker: descriptors to watch (any of them readable: call trio_worker_check). Returns how
 * many were written to fds (room for 3). */
int trio_worker_pidfds(int *fds);
/* Looks at keepers and supervisor, replaces or ends as the rules say. The descriptors to watch may be
 * others afterwards. */
void trio_worker_check(void);
/* Is there a supervisor? */
bool trio_supervised(void);
/* A new supervisor: its pidfd (owned from now on) takes the place of the old one's, for all members. */
void trio_set_supervisor(int pidfd);
/* Both keepers are watched. If not (one is just being replaced): check again soon. */
bool trio_worker_watches_all(void);

#endif
