/* room.c - servers that are gone leave their places in the world to others, once no connection is theirs. */
#include <stdlib.h>
#include "base/mem.h"
#include "supervisor/state.h"

/* Which places are named by rows, found once for all that are asked about. */
struct places {
	const struct workers *workers;
	bool *named; /* TARGETS_MAX; NULL: not looked yet */
};

static void look_at_rows(const struct trio *trio, bool *named)
{
	uint32_t n = trio_rows_used(trio);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t target = trio_cold(trio, i)->target;

		if (trio_row(trio, i)->state != ROW_FREE && target < TARGETS_MAX)
			named[target] = true;
	}
}

static bool room_is_named(void *arg, uint32_t target)
{
	struct places *p = arg;

	if (!p->named) {
		p->named = mem_alloc(TARGETS_MAX * sizeof(*p->named));
		for (uint32_t i = 0; i < p->workers->n; i++)
			if (p->workers->list[i].trio)
				look_at_rows(p->workers->list[i].trio, p->named);
	}
	return p->named[target];
}

static void room_counted(void *arg, uint32_t target, struct counted *sum)
{
	struct places *p = arg;

	for (uint32_t i = 0; i < p->workers->n; i++)
		if (p->workers->list[i].trio)
			counted_add(sum, counters_server(trio_counters(p->workers->list[i].trio), target));
}

void room_make(struct supervisor *s, const struct config *c)
{
	struct places p = {.workers = &s->children.workers};
	const struct room_ops ops = {.arg = &p, .named = room_is_named, .counted = room_counted};

	if (s->retirees.n > 0) /* whose rows cannot be read here */
		return;
	world_make_room(s->children.workers.world, c, &ops);
	free(p.named);
}
