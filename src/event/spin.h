/*
 * spin.h - a watchdog for our own loop: the same token in 500 turns in a row, none of which has waited, and nothing was
 * accepted, read or written meanwhile. That is a fault of ours: an event that is not handled, or one of a descriptor
 * that was closed here while its file is still open elsewhere: then its number is free or another file's, and the
 * registration cannot be removed by it.
 *
 * It is said once. What is really ready is not watched any more. For the rest the loop's owner has a way of its own (a worker: its
 * successor makes another epoll instance); without one the loop looks 50 times a second from then on.
 */
#ifndef EVENT_SPIN_H
#define EVENT_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

struct spin {
	uint64_t token;
	uint32_t events;    /* of it, in this turn */
	unsigned turns;     /* in a row */
	unsigned long seen; /* progress_made then */
	uint64_t dropped;   /* the last token of what was removed */
	bool throttled;
};

/* For loop.c. Before the wait: when, if that is of interest, else 0. After it: how long it took. After the turn;
 * watched: loop_watched(). */
int64_t spin_before_wait(const struct loop *l);
void spin_after_wait(struct loop *l, int64_t before_us, int n);
void spin_after_turn(struct loop *l, int (*watched)(struct loop *l, uint64_t token));

/* What spins is not watched any more, if it is this descriptor: else false. */
bool spin_drop(struct loop *l, int fd, uint64_t token);
/* Says what spins. what: "descriptor 7", whose it is; then: what is done about it. */
void spin_tell(const char *what, int fd, uint32_t events, const char *then);

#ifdef FAULTS
/* Plants one, if `variable` names it: "ready" (never read) or "stale" (closed, and open elsewhere), or "stale
 * later". */
void spin_plant(struct loop *l, const char *variable);
#define SPIN_PLANT(loop, variable) spin_plant(loop, variable)
/* A descriptor that is registered under this token is told of for ever, if there is such a variable. */
void spin_plant_row(struct loop *l, const char *variable, int fd, uint64_t token);
#define SPIN_PLANT_ROW(loop, variable, fd, token) spin_plant_row(loop, variable, fd, token)
#else
#define SPIN_PLANT_ROW(loop, variable, fd, token) ((void)0)
#define SPIN_PLANT(loop, variable)                ((void)0)
#endif

#endif
