/*
 * retire.h - trios whose shared memory has another layout than ours, because they are of another
 * version: they accept nothing more, hand over to ours the connections that can move, and end with
 * the last of the others.
 *
 * After an upgrade the old program's guard stays as their last reader: it writes what they put into
 * their rings, which we cannot read. After a crash there is none, and the records of connections
 * that end with them are lost.
 */
#ifndef DAEMON_RETIRE_H
#define DAEMON_RETIRE_H

#include <stdbool.h>
#include <stdint.h>
#include "daemon/adopt.h"
#include "event/loop.h"

struct supervisor;

struct retired {
	struct supervisor *supervisor;
	struct orphan orphan;
	struct watch control;
	struct timer timer;
	unsigned tries; /* to get hold of it again */
	bool adopted;   /* it knows us */
	bool gone;
};

struct retirees {
	struct retired *list;
	uint32_t n;
};

/* These are to be retired; next_id becomes the highest number of a record that they may have given.
 */
void retire_take(struct supervisor *s, const struct orphan *o);
/* Ours serve: tells the others. read: somebody reads what they say. */
void retire_begin(struct supervisor *s, bool read);
/* Ends their connections and themselves. */
void retire_stop(struct supervisor *s);
void retire_kill(struct supervisor *s);
bool retire_gone(const struct supervisor *s);

/* In the guard, which is the old program: writes to the log what the trios say, until the last of
 * them is gone. */
_Noreturn void retire_read_last(struct supervisor *s);

#endif
