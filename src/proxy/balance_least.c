#include "proxy/balance.h"

/* a/b < c/d, of numbers that are above 0 below the line. */
static int compare(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t left = a * d, right = c * b;

	return left < right ? -1 : left > right;
}

uint32_t least_connections(struct contender *list, uint32_t n, const struct connection_counts *counts)
{
	uint32_t front = 0, fewest = 0, weight = 1;

	for (uint32_t i = 0; i < n; i++) {
		struct contender now = list[i];
		uint32_t count = connections_of(counts, &now);
		int how = i == 0 ? -1 : compare(count, now.weight, fewest, weight);

		if (how > 0)
			continue;
		if (how < 0) {
			front = 0;
			fewest = count;
			weight = now.weight;
		}
		list[i] = list[front];
		list[front++] = now;
	}
	return front;
}
