/*
 * doorman.h - a worker's part in finding a new supervisor: opens the door, greets who knocks, and says when one of them
 * has spoken the word.
 */
#ifndef DAEMON_DOORMAN_H
#define DAEMON_DOORMAN_H

#include "daemon/door.h"
#include "event/loop.h"
#include "proxy/world.h"

struct doorman {
	struct loop *loop;
	struct trio *trio;
	const struct world *world;
	/* This connection is to be the control socket from now on (owned by the callee); what was said, WIRE_ADOPT, is
	 * still in it. */
	void (*chosen)(int fd);
	struct watch door;
	struct watch suitor; /* who knocked last; may become the supervisor */
};

/* Watches t->door_fd, if there is one, and the trio is not retired. */
void doorman_start(struct doorman *d, struct loop *loop, struct trio *t, const struct world *world,
		   void (*chosen)(int fd));
/* From now on another trio opens the door. */
void doorman_stop(struct doorman *d);

#endif
