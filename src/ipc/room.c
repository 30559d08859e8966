/* room.c - servers that are gone leave their places in the world to others (world.h). */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "ipc/world.h"

/* How many servers of c are not there yet. */
static uint32_t count_new(const struct world *w, const struct config *c)
{
	uint32_t n = 0;

	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++)
			n += world_target(w, c, &c->sections[i], &c->sections[i].servers[k]) == TARGET_NONE;
	return n;
}

static void clear_target(struct world *w, uint32_t i, const struct room_ops *ops)
{
	struct counted *before = &w->counted_before[i];

	memset((void *)before, 0, sizeof(*before));
	ops->counted(ops->arg, i, before);
	spots_forget_target(&w->spots, i);
	targets_clear(&w->targets, w->experience, i);
	memset((void *)&w->ejections[i], 0, sizeof(w->ejections[i]));
	for (uint32_t k = 0; k < atomic_load(&w->targets.n); k++) /* those that are gone, too */
		if (atomic_load(&w->targets.list[k].of) == i + 1)
			atomic_store(&w->targets.list[k].of, 0);
}

void world_make_room(struct world *w, const struct config *c, const struct room_ops *ops)
{
	uint32_t n = atomic_load(&w->targets.n), wanted, cleared = 0, n_rested, *rested;
	int64_t now_ms = clock_mono_ms();

	if (n + config_servers(c) <= TARGETS_MAX) /* there is room, whichever they are */
		return;
	wanted = count_new(w, c);
	for (uint32_t i = 0; i < n; i++)
		cleared += w->targets.list[i].key[0] == '\0';
	rested = mem_alloc(TARGETS_MAX * sizeof(*rested));
	n_rested = targets_rested(&w->targets, now_ms, ops->named, ops->arg, rested);
	for (uint32_t i = 0; i < n_rested && n + wanted > TARGETS_MAX + cleared; i++, cleared++)
		clear_target(w, rested[i], ops);
	free(rested);
}
