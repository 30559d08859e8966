/*
 * balance.h - evening out: when one worker has clearly more connections, or more to do, than
 * another, the supervisor has some of them handed over. Workers say when they notice it, so nothing
 * is asked of an idle system.
 */
#ifndef CHILDREN_BALANCE_H
#define CHILDREN_BALANCE_H

#include <stdbool.h>
#include <stdint.h>
#include "event/loop.h"

struct workers;

struct balance {
	struct workers *workers;
	struct timer timer;
	struct timer orders; /* of tests */
	bool under_way;
	bool busy;     /* what was asked for last */
	uint32_t from; /* the worker that gives */
};

void balance_init(struct balance *b, struct workers *ws);
/* A worker has said that one has too much: to do (busy), or too many connections. */
void balance_asked(struct balance *b, bool busy);
/* It is through, and has given n connections away. */
void balance_done(struct balance *b, uint32_t worker, uint32_t n);

#endif
