#include "proxy/balance_round_robin.h"

/* Whole strides for the usual weights: 18018000 is 2^4 * 3^2 * 5^3 * 7 * 11 * 13. */
#define ROUND (18018000LL << 16)

/* By turns nobody comes to be so many of its strides behind; measured, the worst is 1.2. */
#define BEHIND_MAX 2

uint64_t round_robin_stride(uint32_t weight)
{
	return (uint64_t)ROUND / weight;
}

/* A pass goes on for ever, and so over the end of its word: what counts is the difference of two. */
static int64_t ahead(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b);
}

/* Where the others are: whoever had the last turn stood there before it. */
static uint64_t common_start(struct contender *list, uint32_t n)
{
	uint64_t start = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct contender *c = &list[i];

		c->seen = atomic_load_explicit(c->pass, memory_order_relaxed);
		if (i == 0 || ahead(c->seen - c->stride, start) > 0)
			start = c->seen - c->stride;
	}
	return start;
}

/* Its pass cannot come from taking turns. */
static bool is_stray(const struct contender *c, uint64_t start)
{
	int64_t stride = (int64_t)c->stride, lead = ahead(c->seen, start);

	return lead > stride || lead < -BEHIND_MAX * stride;
}

uint32_t round_robin_pick(struct contender *list, uint32_t n)
{
	uint64_t start = common_start(list, n);
	int64_t sum = 0, weights = 0, share, most = 0;
	uint32_t best = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct contender *c = &list[i];
		int64_t lead = is_stray(c, start) ? 0 : ahead(c->seen, start);

		c->counts = start + (uint64_t)lead;
		sum += lead * c->weight;
		weights += c->weight;
	}
	share = (sum + ROUND) / weights; /* where all would be after this turn, if it could be divided */
	for (uint32_t i = 0; i < n; i++) {
		int64_t behind = (share - ahead(list[i].counts, start)) * list[i].weight;

		if (i == 0 || behind > most) {
			most = behind;
			best = i;
		}
	}
	return best;
}

static bool move_on(const struct contender *c, uint64_t to)
{
	unsigned long long seen = c->seen;

	return atomic_compare_exchange_strong_explicit(c->pass, &seen, to, memory_order_relaxed, memory_order_relaxed);
}

void round_robin_level(struct contender *list, uint32_t n)
{
	uint64_t start = common_start(list, n);

	for (uint32_t i = 0; i < n; i++) {
		struct contender *c = &list[i];

		if (is_stray(c, start) && move_on(c, start))
			c->seen = start;
	}
}

bool round_robin_turn(const struct contender *list, uint32_t n, uint32_t index)
{
	/* who counts as somewhere else stands there from now on: else it would be there anew each time, and never fall behind */
	for (uint32_t i = 0; i < n; i++)
		if (i != index && list[i].counts != list[i].seen)
			move_on(&list[i], list[i].counts);
	return move_on(&list[index], list[index].counts + list[index].stride);
}
