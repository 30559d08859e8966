/*
 * greeter.h - a worker's part in finding a new supervisor: opens the door, greets processes that knock, and says when
 * one of them has spoken the word.
 */
#ifndef WORKER_GREETER_H
#define WORKER_GREETER_H

#include "ipc/rendezvous.h"
#include "event/acceptor.h"
#include "ipc/world.h"

struct greeter {
	struct loop *loop;
	struct trio *trio;
	const struct world *world;
	/* This connection is to be the control socket from now on (owned by the callee); what was said, WIRE_ADOPT, is
	 * still in it. */
	void (*chosen)(int fd);
	struct acceptor door;
	struct watch stranger;  /* the process that knocked last, and is asked for the key */
	struct watch candidate; /* the process that was greeted last; may become the supervisor */
	uint32_t told;          /* listeners before this one */
	bool tell_stick;        /* behind them */
	struct timer tell_timer;
};

/* Watches t->door_fd, if there is one, and the trio is not retired. */
void greeter_start(struct greeter *d, struct loop *loop, struct trio *t, const struct world *world,
                   void (*chosen)(int fd));
/* From now on another trio opens the door. */
void greeter_stop(struct greeter *d);

#endif
