/*
 * run.h - one running program, from its start until nothing of it is left. Knows processes, not
 * questions.
 *
 * What happens is told in this order, each at most once:
 *   RUN_STARTED or RUN_FAILED (value: errno)
 *   RUN_EXITED   after RUN_STARTED: it has ended and is reaped (value: wait status)
 *   RUN_ENDED    no process is left that run_end() has to wait for
 *   RUN_FINISHED its stderr is closed as well: the owner may free it
 */
#ifndef PROGRAM_RUN_H
#define PROGRAM_RUN_H

#include <stdbool.h>
#include "event/loop.h"
#include "os/spawn.h"
#include "program/lines.h"

enum run_event { RUN_STARTED, RUN_FAILED, RUN_EXITED, RUN_ENDED, RUN_FINISHED };

/* Nothing of the run is touched after the call with RUN_FINISHED. */
typedef void run_fn(void *arg, enum run_event event, int value);

struct run {
	struct loop *loop;
	run_fn *fn;
	void *arg;
	const char *label;      /* borrowed */
	struct spawned process; /* pidfd -1: was not started */
	struct watch exec, exit;
	struct lines lines;
	struct timer tick, drain;
	int64_t kill_at_ms; /* of run_end() */
	int64_t stderr_ms; /* children that it has left behind may write to stderr for so long; 0: as long as they live. To be
	                     * set after run_start() */
	bool told;         /* RUN_STARTED or RUN_FAILED was */
	bool failed;
	bool exited, ending, ended;
};

#define SPAWN_AS_STDERR (-2) /* as what->fds[1] */

/* Starts what->argv with a pipe of ours as its stderr (what->fds[2] is filled in here, and fds[1], if it is to be the same). label names
 * it in the log: "handler /path for 10.0.0.7:1234". Returns 0 or -errno; then nothing is told, and
 * the run needs only run_release(). */
int run_start(struct run *r, struct loop *loop, struct spawn *what, const char *label, run_fn *fn, void *arg);

/* A program that another process has started, in a session of its own: fn is told its end (with a status of its own
 * only if it is our child) and what follows. Its stderr is not ours. Returns 0; -errno: it does not run any more. */
int run_adopt(struct run *r, struct loop *loop, pid_t pid, const char *label, run_fn *fn, void *arg);

/* TERM to its process group now, KILL after grace_ms if something of it is left; 0: KILL at once.
 * Nothing is told before the call returns. */
void run_end(struct run *r, int64_t grace_ms);

/* Lets go of it in any state, also all zero; the program itself is left alone. */
void run_release(struct run *r);

#endif
