/*
 * shortlist.h - what the last look at all servers of a large pool has found, so that not each client has to look at all of them: those
 * that would do equally, in an order in which the next one is found at once.
 *
 *   round-robin, least-connections   a heap: whose turn it is stands on top. Other workers give turns, too, and only ever move a pass on:
 *                                    so who is on top and still has the pass that it had when it was put there is the one
 *   random                           the sums of the weights so far: who is drawn is found by halving
 *   source, hash                     their numbers side by side; all are looked at, which takes some nanoseconds each
 *
 * It holds for some milliseconds. Who is chosen from it is looked at anew: one that is down is not taken, one that has come waits so long.
 */
#ifndef PROXY_SHORTLIST_H
#define PROXY_SHORTLIST_H

#include "config/config.h"
#include "proxy/balance.h"

#define SHORTLIST_FROM 16 /* pools of more servers than this have one */

struct shortlist {
	int64_t until_ms; /* monotonic; 0: the contenders are not those of a look at all */
	uint32_t rank, n; /* of all contenders; so many */
	bool equal;       /* their weights are */
	uint32_t *heap;   /* of their indices */
	uint64_t *values; /* their sums, or numbers */
};

/* How long one of so many holds: a look at each takes a tenth of a microsecond. */
int64_t shortlist_ms(uint32_t pool);

/* For a pool of so many; shortlist_free() takes NULL. */
struct shortlist *shortlist_new(uint32_t pool);
void shortlist_free(struct shortlist *l);

/* These have been found, at least one. hashes: of each member of the pool. */
void shortlist_set(struct shortlist *l, struct contender *list, uint32_t n, enum balance_way way,
                   const uint64_t *hashes);
/* The index of the one to take. */
uint32_t shortlist_pick(struct shortlist *l, struct contender *list, enum balance_way way, uint64_t key,
                        uint64_t *random, const struct connection_counts *counts);
/* Of the ways that are a heap: it has had its turn. false: another worker was faster. */
bool shortlist_turn(struct shortlist *l, struct contender *list, uint32_t index, enum balance_way way);

#endif
