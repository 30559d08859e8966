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
	void *arg;
};

/* In a fresh child of the supervisor, whose table holds only the trio's descriptors: becomes
 * keeper 0, clones the others, never returns. */
_Noreturn void trio_run(const struct trio_setup *setup);

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
