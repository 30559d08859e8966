/*
 * again.h - a process that is to be there, but cannot be started just now - the machine is out of processes,
 * descriptors or memory - is started as soon as it can be: tried again with pauses. The log is told once, and once more
 * when it is over.
 */
#ifndef CHILDREN_AGAIN_H
#define CHILDREN_AGAIN_H

#include <stdint.h>
#include "event/loop.h"

struct again {
	struct loop *loop;
	int (*start)(void *arg); /* 0; or -errno, and nothing has changed */
	void *arg;
	char who[32]; /* for the log */
	struct timer timer;
	unsigned failures; /* in a row */
};

void again_init(struct again *a, struct loop *loop, int (*start)(void *arg), void *arg, const char *who, ...)
        __attribute__((format(printf, 5, 6)));
/* Now, or at this time; or later, until it has been done. */
void again_start(struct again *a);
void again_start_at(struct again *a, int64_t at_ms);
/* No more. Takes one that is all zero. */
void again_cancel(struct again *a);
bool again_is_pending(const struct again *a);

#endif
