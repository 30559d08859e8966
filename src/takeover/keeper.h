/*
 * keeper.h - the three processes that share one descriptor table, and which of them replaces which.
 *
 *   member          watches                     does
 *   primary keeper  worker, spare, supervisor   clones whichever of the two died
 *   spare keeper    primary, supervisor         becomes primary, clones a new spare
 *                   the worker, too             kills a primary that does not replace it (it is stopped)
 *   worker          both keepers, supervisor    only if both are dead: clones keeper 0
 *
 * The fuser rule: the supervisor and a member dead within one second of each other, in either
 * order: an administrator wants us gone, so all end. Otherwise a member that died is replaced.
 */
#ifndef TAKEOVER_KEEPER_H
#define TAKEOVER_KEEPER_H

#include "takeover/table.h"

struct trio_setup {
	struct trio *trio;
	int supervisor_pidfd;      /* in the trio's table */
	void (*worker)(void *arg); /* the worker's life; returns when it is to end in order */
	/* A member begins that may descend from a worker: lets go of the memory that one had. May be NULL. */
	void (*forget)(void);
	void *arg;
};

/* In a fresh child of the supervisor, whose table holds only the trio's descriptors: becomes
 * keeper 0, clones the others, never returns. */
_Noreturn void trio_run(const struct trio_setup *setup);

/* In a process that was the primary keeper and has become another program (see reexec.c): its table is a copy of the
 * trio's, which the old spare still holds. Clones a spare and a worker of its own program, ends the old spare, never
 * returns. If it dies before it is committed, the old spare goes on with the old program. */
_Noreturn void trio_continue(const struct trio_setup *setup);
/* For the worker: the trio is to become the program in t->binary_fd. The worker returns after this; its end is the
 * signal. */
void trio_want_reexec(void);

/* For the worker: another one, which may do what this one may not, is to follow. The worker returns after this; no
 * member takes that for a death. */
void trio_want_successor(void);

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

/* Which file it is that is open there. 0 or -errno. */
int program_identify(int fd, struct program_id *ret);

#endif
