#include "proxy/balance.h"

#include "base/random.h"

static uint32_t draw_by_weight(const struct contender *list, uint32_t n, uint64_t sum, uint64_t *state)
{
	uint64_t at = random_next(state) % sum;
	uint32_t i = 0;

	while (i + 1 < n && at >= list[i].weight)
		at -= list[i++].weight;
	return i;
}

/* "The power of two choices" (Mitzenmacher, 1996). */
uint32_t random_pick(const struct contender *list, uint32_t n, const struct connection_counts *counts, uint64_t *state)
{
	uint64_t sum = 0;
	uint32_t one, other;

	for (uint32_t i = 0; i < n; i++)
		sum += list[i].weight;
	one = draw_by_weight(list, n, sum, state);
	other = draw_by_weight(list, n, sum, state);
	return random_better(list, one, other, counts);
}

uint32_t random_better(const struct contender *list, uint32_t one, uint32_t other,
                       const struct connection_counts *counts)
{
	if (one == other)
		return one;
	return (uint64_t)connections_of(counts, &list[other]) * list[one].weight <
	                       (uint64_t)connections_of(counts, &list[one]) * list[other].weight
	               ? other
	               : one;
}
