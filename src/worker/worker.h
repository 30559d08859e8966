/*
 * worker.h - one worker process: the engine, told what to do by the supervisor over its trio's
 * control socket.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "proxy/engine.h"

struct worker_setup {
	struct trio *trio;
	struct world *world;
	struct trio *const *trios;
	uint32_t n_trios;
	const int *rearm_fds;
};

/* The life of a worker; arg: struct worker_setup. Returns when it is to end in order. Everything that it
 * needs from a predecessor is in the trio's memory and descriptor table. */
void worker_run(void *arg);
/* In a process that was cloned from a worker, or from one that was: frees what that one had allocated. */
void worker_forget(void);

#endif
