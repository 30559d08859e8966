/*
 * succession.h - a worker that may not do what its new rules want is followed by one that may: a filter of system calls
 * cannot be widened.
 *
 * The new rules stand in the trio's memory already, and the worker goes on by the old ones until it is its turn: those
 * with lower numbers go first, so that mostly all but one accept. One that takes long is not waited for.
 */
#ifndef WORKER_SUCCESSION_H
#define WORKER_SUCCESSION_H

#include <stdbool.h>
#include "event/loop.h"
#include "takeover/table.h"

struct succession {
	struct loop *loop;
	struct trio *trio;
	struct trio *const *trios; /* of all workers, by number */
	void (*go)(void);
	int64_t until_ms;
	struct timer timer;
	bool waits;
};

/* go(): now. Its new rules are recorded in t. */
void succession_begin(struct succession *s, struct loop *l, struct trio *t, struct trio *const *trios,
                      void (*go)(void));

#endif
