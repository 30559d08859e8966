/*
 * early.h - those of a worker's clients that have not said yet what must be known before anything else: a header of the PROXY protocol,
 * or what tells their section. All are in a list, the oldest first. It holds an eighth of the worker's rows: one more, and the oldest is
 * told to go, so that nobody can take all places by silence.
 */
#ifndef PROXY_EARLY_H
#define PROXY_EARLY_H

#include <stdbool.h>
#include <stdint.h>
#include "event/loop.h"

struct early_room {
	struct early *oldest, *newest;
	uint32_t n, most;
};

struct early {
	struct early_room *room; /* NULL: in none */
	struct early *older, *newer;
	int64_t since_us;            /* when it was accepted */
	void (*too_many)(void *arg); /* it is to leave, now */
	void *arg;
	struct timer widen; /* only if it has begun to speak */
	struct loop *loop;
	int fd;
	int64_t pause_ms;
};

void early_room_init(struct early_room *room, uint32_t n_rows);
/* false: there was no room, and it is gone already. */
bool early_enter(struct early *e, struct early_room *room, int64_t since_us, void (*too_many)(void *arg), void *arg);
/* It has said a part, and the rest may find no room: it is looked after until it leaves. */
void early_widen(struct early *e, struct loop *loop, int fd);
/* Takes one that is in none. */
void early_leave(struct early *e);

#endif
