/*
 * balance_round_robin.h - turns by weight: the next client goes to the server that is most behind its share.
 *
 * All workers share one word for each member of a pool, its pass: how far it has come. A turn moves it on by its stride, which is a
 * round divided by its weight. Nothing else is kept, so weights may change at any moment and any process may die: who is how far
 * behind is computed from these words at each choice. A pass that cannot come from taking turns (of a server that is new or was away
 * meanwhile, or whose word was another's before a reload) counts as where the others are: nobody has a backlog, nobody a debt.
 */
#ifndef PROXY_BALANCE_ROUND_ROBIN_H
#define PROXY_BALANCE_ROUND_ROBIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WEIGHT_ONE 256 /* weights are counted in parts of this, as some are below 1 */

struct contender {
	uint32_t member; /* of its pool */
	uint32_t weight; /* above 0 */
	uint32_t
	        connections; /* when it was looked at, and those that it was given since; of a large pool (ruleset.h) */
	uint64_t stride;     /* of that weight */
	atomic_ullong *pass;
	/* round_robin_pick() fills in: */
	uint64_t seen, counts; /* its pass, and what that counts as */
};

uint64_t round_robin_stride(uint32_t weight);

/* Of these n, at least one: the index of whose turn it is; of equals the first. Changes nothing that others see. */
uint32_t round_robin_pick(struct contender *list, uint32_t n);
/* Fills in what is seen of their passes, and puts those that cannot come from taking turns where the others are. */
void round_robin_level(struct contender *list, uint32_t n);
/* That one has had its turn. false: another worker has given it one meanwhile, so it is no longer its turn. */
bool round_robin_turn(const struct contender *list, uint32_t n, uint32_t index);

#endif
