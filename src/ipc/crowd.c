#include "ipc/crowd.h"

#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/mem.h"

int member_compare_place(const struct member *a, const struct member *b)
{
	int d = (int)a->addr.family - (int)b->addr.family;

	if (d == 0)
		d = memcmp(a->addr.ip, b->addr.ip, sizeof(a->addr.ip));
	return d ? d : (int)a->addr.port - (int)b->addr.port;
}

int member_compare(const void *pa, const void *pb)
{
	const struct member *a = pa, *b = pb;
	int d = member_compare_place(a, b);

	if (d == 0)
		d = (int)a->priority - (int)b->priority;
	return d ? d : (int)b->weight - (int)a->weight;
}

bool member_equal(const struct member *a, const struct member *b)
{
	return member_compare(a, b) == 0;
}

size_t crowd_sort(struct member *list, size_t n)
{
	size_t kept = 0;

	if (n > 1)
		qsort(list, n, sizeof(*list), member_compare);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || member_compare_place(&list[i], &list[kept - 1]) != 0)
			list[kept++] = list[i];
	return kept;
}

uint64_t crowd_id(const char *line)
{
	return hash_bytes(HASH_START, line, strlen(line));
}

/* An address of a name, and nothing else. */
static bool makes_sense(const struct member *m)
{
	return (m->addr.family == AF_INET || m->addr.family == AF_INET6) && m->addr.scope == 0;
}

static void clear_rest(struct member *m)
{
	if (m->addr.family == AF_INET)
		memset(m->addr.ip + 4, 0, sizeof(m->addr.ip) - 4);
}

void gathering_release(struct gathering *g)
{
	free(g->list);
	*g = (struct gathering){.n = 0};
}

static bool fits(const struct gathering *g, uint64_t id, uint32_t n, const struct crowd_part *part)
{
	if (n > CROWD_PART || part->total > CROWD_MAX || (size_t)part->at + n > part->total ||
	    (n == 0 && part->total > 0))
		return false;
	if (part->at > 0 && (g->id != id || g->total != part->total || g->n != part->at))
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (!makes_sense(&part->list[i]))
			return false;
	return true;
}

enum gathered gathering_take(struct gathering *g, uint64_t id, uint32_t n, const struct crowd_part *part)
{
	if (!fits(g, id, n, part)) {
		gathering_release(g);
		return GATHERED_WRONG;
	}
	if (part->at == 0) {
		gathering_release(g);
		g->id = id;
		g->total = part->total;
		g->list = mem_alloc((g->total + 1) * sizeof(*g->list));
	}
	for (uint32_t i = 0; i < n; i++) {
		g->list[g->n] = part->list[i];
		clear_rest(&g->list[g->n++]);
	}
	if (g->n < g->total)
		return GATHERED_PART;
	g->n = crowd_sort(g->list, g->n);
	return GATHERED_ALL;
}
