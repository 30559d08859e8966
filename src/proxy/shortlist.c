#include "proxy/shortlist.h"

#include <stdlib.h>
#include "base/mem.h"
#include "base/random.h"

#define MS_LEAST 10
#define MS_MOST  50
#define PER_MS   64 /* servers */

int64_t shortlist_ms(uint32_t pool)
{
	int64_t ms = pool / PER_MS;

	return ms < MS_LEAST ? MS_LEAST : ms > MS_MOST ? MS_MOST : ms;
}

struct shortlist *shortlist_new(uint32_t pool)
{
	struct shortlist *l = mem_alloc(sizeof(*l));

	l->heap = mem_alloc(pool * sizeof(*l->heap));
	l->values = mem_alloc(pool * sizeof(*l->values));
	return l;
}

void shortlist_free(struct shortlist *l)
{
	if (!l)
		return;
	free(l->heap);
	free(l->values);
	free(l);
}

static bool is_heap(enum balance_way way)
{
	return way == BALANCE_ROUND_ROBIN || way == BALANCE_LEAST_CONNECTIONS;
}

/* ---- the heap ---- */

/* Is it a's turn rather than b's? */
static bool goes_first(const struct contender *a, const struct contender *b, enum balance_way way)
{
	if (way == BALANCE_LEAST_CONNECTIONS) {
		uint64_t left = (uint64_t)a->connections * b->weight, right = (uint64_t)b->connections * a->weight;

		if (left != right)
			return left < right;
	}
	if (a->seen != b->seen)
		return (int64_t)(a->seen - b->seen) < 0;
	return a->member < b->member;
}

static void sink(struct shortlist *l, const struct contender *list, uint32_t at, enum balance_way way)
{
	for (;;) {
		uint32_t next = 2 * at + 1, moved = l->heap[at];

		if (next >= l->n)
			return;
		if (next + 1 < l->n && goes_first(&list[l->heap[next + 1]], &list[l->heap[next]], way))
			next++;
		if (!goes_first(&list[l->heap[next]], &list[moved], way))
			return;
		l->heap[at] = l->heap[next];
		l->heap[next] = moved;
		at = next;
	}
}

static void build(struct shortlist *l, struct contender *list, enum balance_way way)
{
	round_robin_level(list, l->n);
	for (uint32_t i = 0; i < l->n; i++)
		l->heap[i] = i;
	for (uint32_t i = l->n / 2; i-- > 0;)
		sink(l, list, i, way);
}

/* As many tries as there are: whoever is so often not the one any more has had a turn meanwhile. */
static uint32_t top(struct shortlist *l, struct contender *list, enum balance_way way)
{
	for (uint32_t tries = 0; tries < l->n; tries++) {
		struct contender *c = &list[l->heap[0]];
		uint64_t pass = atomic_load_explicit(c->pass, memory_order_relaxed);

		if (pass == c->seen)
			break;
		c->seen = pass;
		sink(l, list, 0, way);
	}
	return l->heap[0];
}

bool shortlist_turn(struct shortlist *l, struct contender *list, uint32_t index, enum balance_way way)
{
	struct contender *c = &list[index];
	unsigned long long seen = c->seen;

	if (!atomic_compare_exchange_strong_explicit(c->pass, &seen, seen + c->stride, memory_order_relaxed,
	                                             memory_order_relaxed))
		return false;
	c->seen += c->stride;
	c->connections++;
	if (l->heap[0] == index)
		sink(l, list, 0, way);
	return true;
}

/* ---- random ---- */

static uint32_t draw(const struct shortlist *l, uint64_t *state)
{
	uint64_t at = random_next(state) % l->values[l->n - 1];
	uint32_t from = 0, to = l->n - 1;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2;

		if (at < l->values[middle])
			to = middle;
		else
			from = middle + 1;
	}
	return from;
}

/* ---- by a key ---- */

/* Where all weigh the same, the greatest number is that of the least logarithm. */
static uint32_t greatest(const struct shortlist *l, uint64_t key)
{
	uint64_t most = 0;
	uint32_t ret = 0;

	for (uint32_t i = 0; i < l->n; i++) {
		uint64_t now = hash_both(key, l->values[i]);

		if (now > most) {
			most = now;
			ret = i;
		}
	}
	return ret;
}

/* ---- all ---- */

void shortlist_set(struct shortlist *l, struct contender *list, uint32_t n, enum balance_way way,
                   const uint64_t *hashes)
{
	uint64_t sum = 0;

	l->n = n;
	l->equal = true;
	for (uint32_t i = 0; i < n; i++) {
		l->equal &= list[i].weight == list[0].weight;
		l->values[i] = way == BALANCE_RANDOM ? sum += list[i].weight : hashes[list[i].member];
	}
	if (is_heap(way))
		build(l, list, way);
}

uint32_t shortlist_pick(struct shortlist *l, struct contender *list, enum balance_way way, uint64_t key,
                        uint64_t *random, const struct connection_counts *counts)
{
	if (way == BALANCE_RANDOM) {
		uint32_t one = draw(l, random), other = draw(l, random);

		return random_better(list, one, other, counts);
	}
	if (way == BALANCE_SOURCE || way == BALANCE_HASH)
		return greatest(l, key);
	return way == BALANCE_FIRST ? 0 : top(l, list, way);
}
