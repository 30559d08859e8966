/*
 * oom.h - which processes are to go first when the machine has no memory left. Supervisor and trios are small, and what
 * they hold is the connections of all clients; the spawner's programs and processes that read strangers' requests are
 * as everything else.
 *
 * Only a process with CAP_SYS_RESOURCE may lower its score, and one that others of its user cannot look into
 * (private.h) may not even open the file. So it is opened and written once while we are root: from then on the kernel
 * lets it go up and down again to there, and a child has the score that we had when it was forked.
 */
#ifndef OS_OOM_H
#define OS_OOM_H

#include <stdbool.h>
#include <sys/types.h>

/* This process, and what it forks, has a score (oom_score_adj) from now on that is lower by so much, if it may. */
void oom_protect(int by);
/* fork(), of a child that has the score that we were started with. */
pid_t oom_fork(void);
/* The next program that this process becomes (not a child) can go on with it; false: it does not become one after all. */
void oom_keep_over_exec(bool keep);
/* In that program, first thing. */
void oom_inherit(void);

#endif
