/*
 * retire.h - trios whose shared memory has another layout than ours, because they are of another
 * version: they accept nothing more, hand over to ours the connections that can move, and end with
 * the last of the others.
 *
 * After an upgrade the old program's guard stays as their last reader: it writes what they put into
 * their rings, which we cannot read. After a crash there is none, and the records of connections
 * that end with them are lost.
 */
#ifndef RESTART_RETIRE_H
#define RESTART_RETIRE_H

#include <stdbool.h>
#include <stdint.h>
#include "children/adopt.h"
#include "children/workers.h"
#include "event/loop.h"
#include "ipc/outbox.h"

struct retirees;

struct retired {
	struct retirees *all;
	struct orphan orphan;
	struct watch control;
	struct outbox outbox;
	struct timer timer;
	unsigned tries; /* to get hold of it again */
	bool adopted;   /* it knows us */
	pid_t session;  /* as of struct worker */
	bool gone;
};

struct retirees {
	struct workers *workers; /* ours: which take what can move; their events are ours */
	const char *why;         /* NULL: another layout */
	uint64_t first_id;       /* of our access records; 0: begin with the first */
	struct retired *list;
	uint32_t n;
};

/* These are to be retired; first_id becomes the highest number of a record that they may have given.
 */
void retire_take(struct retirees *all, const struct orphan *o);
/* Ours serve: tells the others. read: a last reader reads what they say. */
void retire_begin(struct retirees *all, bool read);
/* Ends their connections and themselves. */
void retire_stop(struct retirees *all);
void retire_kill(struct retirees *all);
bool retire_gone(const struct retirees *all);
/* Is this process in a session of theirs? */
bool retire_have_session(const struct retirees *all, pid_t session);

#endif
