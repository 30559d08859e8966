/*
 * balance.h - which of several servers that would do equally gets the next client: one function for each way. (round-robin has a
 * header of its own, for it keeps something.)
 */
#ifndef PROXY_BALANCE_H
#define PROXY_BALANCE_H

#include "base/addr.h"
#include "proxy/balance_round_robin.h"
#include "proxy/limits.h"

/* How many connections a member of the pool has, those that are being made included, over all workers. */
struct connection_counts {
	const struct limits *limits;
	const uint64_t *keys; /* of each member */
	bool noted;           /* what the contenders have noted will do */
};

static inline uint32_t connections_of(const struct connection_counts *c, const struct contender *contender)
{
	return c->noted ? contender->connections : limits_count(c->limits, c->keys[contender->member]);
}

/* Those with the fewest connections for their weight are put in front, in their order; returns how many. */
uint32_t least_connections(struct contender *list, uint32_t n, const struct connection_counts *counts);

/* The better of two that are drawn by weight. state: of the generator, never 0. */
uint32_t random_pick(const struct contender *list, uint32_t n, const struct connection_counts *counts, uint64_t *state);

/* Of two that were drawn. */
uint32_t random_better(const struct contender *list, uint32_t one, uint32_t other,
                       const struct connection_counts *counts);

/* By rendezvous (Thaler, Ravishankar 1998), weighted (Schindelhauer, Schomaker 2005): each server has a score for this key, the
 * highest wins. When a server goes, its clients go to others, and nobody else's do. Integers only: all machines agree.
 * members: a number for each member of the pool, by its spelling. bounded: per cent of the average that none exceeds; 0: no bound. */
uint32_t hash_pick(const struct contender *list, uint32_t n, uint64_t key, const uint64_t *members, uint32_t bounded,
                   const struct connection_counts *counts);
/* Of a client: its address; of IPv6 the /64. */
uint64_t hash_client(const struct addr *client);
uint64_t hash_member(const char *spelling);
/* The finalizer of splitmix64 (Steele, Lea, Flood 2014): each bit of the result depends on all. */
static inline uint64_t hash_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* The number of a key and a member: evenly drawn. */
static inline uint64_t hash_both(uint64_t key, uint64_t member)
{
	return hash_mix(key ^ member);
}

#endif
