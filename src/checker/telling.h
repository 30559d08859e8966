/*
 * telling.h - changes of servers, told to the supervisor. It may be slow, or stopped: what its socket does not take now is kept, one
 * change for each seat, so that a server that has changed again by then is told of once: from what it was to what it is.
 */
#ifndef CHECKER_TELLING_H
#define CHECKER_TELLING_H

#include <stddef.h>
#include <stdint.h>
#include "ipc/seats.h"

struct telling {
	int fd;                            /* the supervisor's; -1: nobody hears */
	uint32_t first, n;                 /* of the queue: who comes next, and how many there are */
	uint32_t queue[SEATS_MAX];         /* a ring of the seats that are kept */
	struct untold *of_seat[SEATS_MAX]; /* what is kept of each; NULL: it is not in the queue */
};

struct telling_change {
	uint32_t seat;
	enum health_state state, was;
	const struct addr *at; /* that has said so; AF_UNSPEC: none */
	const char *why;       /* "" for none; what is too long is cut */
};

/* All is zero but fd. */
void telling_change(struct telling *t, const struct telling_change *change);
/* There may be room for what is kept. */
void telling_go_on(struct telling *t);
/* Nobody hears any more: what is kept is forgotten. */
void telling_stop(struct telling *t);

#endif
