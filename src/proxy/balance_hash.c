#include "proxy/balance.h"

#include <string.h>
#include <sys/socket.h>
#include "base/hash.h"

/* ---- numbers ---- */

uint64_t hash_client(const struct addr *client)
{
	return hash_mix(hash_bytes(HASH_START, client->ip, client->family == AF_INET ? 4 : 8));
}

uint64_t hash_member(const char *spelling)
{
	return hash_mix(hash_bytes(HASH_START, spelling, strlen(spelling)) + 0x9e3779b97f4a7c15ULL);
}

/* ---- the logarithm ---- */

#define TABLE_BITS 12
#define TABLE_SIZE (1u << TABLE_BITS)
#define FRACTION   32 /* bits of a logarithm behind the point */

static uint64_t table[TABLE_SIZE + 1]; /* log2(1 + i / TABLE_SIZE) */

/* Digit by digit, by squaring: x from 1 to 2, with 31 bits behind the point. Integers only, so that every machine has the same table. */
static uint64_t log2_slowly(uint64_t x)
{
	uint64_t ret = 0;

	for (int i = 0; i < FRACTION; i++) {
		x = x * x >> 31;
		ret <<= 1;
		if (x >> 32) {
			ret |= 1;
			x >>= 1;
		}
	}
	return ret;
}

static void make_table(void)
{
	if (table[TABLE_SIZE])
		return;
	for (uint64_t i = 0; i < TABLE_SIZE; i++)
		table[i] = log2_slowly((1ULL << 31) + (i << (31 - TABLE_BITS)));
	table[TABLE_SIZE] = 1ULL << FRACTION;
}

/* 64 - log2(x), above 0: of a number that is drawn evenly it is drawn exponentially. */
static uint64_t minus_log2(uint64_t x)
{
	int whole = 63 - __builtin_clzll(x | 1);
	uint64_t rest = x << (63 - whole) << 1; /* what follows the leading one */
	uint64_t i = rest >> (64 - TABLE_BITS), between = rest << TABLE_BITS >> (64 - FRACTION);
	uint64_t log = table[i] + ((table[i + 1] - table[i]) * between >> FRACTION);

	return ((uint64_t)(64 - whole) << FRACTION) - log;
}

/* ---- the choice ---- */

/* A place more must not lift it above its part of the average; parts are rounded up, so one of them always has room. */
static bool has_room(const struct contender *c, uint32_t count, uint64_t all, uint64_t weights, uint32_t bounded)
{
	__uint128_t part = (__uint128_t)(all + 1) * c->weight * bounded;
	__uint128_t whole = (__uint128_t)weights * 100;

	return count < (uint64_t)((part + whole - 1) / whole);
}

uint32_t hash_pick(const struct contender *list, uint32_t n, uint64_t key, const uint64_t *members, uint32_t bounded,
                   const struct connection_counts *counts)
{
	uint64_t all = 0, weights = 0, best = 0;
	uint32_t ret = 0;
	bool found = false;

	make_table();
	for (uint32_t i = 0; i < n && bounded; i++) {
		all += connections_of(counts, &list[i]);
		weights += list[i].weight;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint64_t now = minus_log2(hash_both(key, members[list[i].member]));

		if (bounded && !has_room(&list[i], connections_of(counts, &list[i]), all, weights, bounded))
			continue;
		/* the least of its number divided by its weight */
		if (!found || (__uint128_t)now * list[ret].weight < (__uint128_t)best * list[i].weight) {
			found = true;
			best = now;
			ret = i;
		}
	}
	return ret;
}
