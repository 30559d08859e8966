/*
 * moving.h - connections on their way from this worker to another one, or from there.
 *
 * A worker gives (moving_give.c) or takes (moving_take.c), over one link at a time, while it serves all others. Batches are small,
 * and one is under way; takeover/handover.h has the words and messages, docs/takeover.md what
 * follows from a death at each step.
 */
#ifndef PROXY_MOVING_H
#define PROXY_MOVING_H

#include <stdbool.h>
#include "event/loop.h"
#include "takeover/handover.h"

struct engine;

struct moving {
	struct watch link;
	struct timer timer;
	struct peer peer;
	uint32_t serial;               /* of the giver's last message: only its answer counts */
	uint32_t cursor;               /* the giver looks for rows from here */
	uint32_t rows[HANDOVER_BATCH]; /* not settled: given away, or taken */
	uint32_t n;
	/* The giver is through; whole: nothing is left that it could have given. May be NULL. */
	void (*ended)(void *arg, uint32_t given, bool whole);
	void *arg;
};

/* Begins with a link to another trio, whose memfd peer_fd is. Both are the engine's from now on.
 * The same link once more does no harm; another one while connections move is refused (closed).
 * quota: connections to give; UINT32_MAX and LINK_ALL: until none is left. */
void moving_begin(struct engine *e, enum link_role role, enum link_which which, uint32_t quota, int link, int peer_fd);
/* After a death, before any descriptor is opened: settles what can be settled. */
void moving_recover(struct engine *e);
/* After that and the sweep: goes on. */
void moving_continue(struct engine *e);
/* What is under way is settled now, and no more is moved. */
void moving_stop(struct engine *e);

#endif
