#include "proxy/route.h"

/* From the best to the last resort. */
enum rank { RANK_GOOD, RANK_AVOIDED, RANK_BACKUP, RANK_BACKUP_AVOIDED, RANKS };

static enum rank rank_of(const struct server *s, const struct experience *e, int64_t now_ms)
{
	bool avoided = e && target_is_avoided(e, now_ms);

	if (s->backup)
		return avoided ? RANK_BACKUP_AVOIDED : RANK_BACKUP;
	return avoided ? RANK_AVOIDED : RANK_GOOD;
}

static bool was_tried(uint64_t tried, uint32_t i)
{
	/* servers beyond the 64th share the last bit: when one of them fails, none of them is tried */
	return tried >> (i < ROUTE_POOL_MAX ? i : ROUTE_POOL_MAX - 1) & 1;
}

enum route_result route_next(const struct ruleset *rules, const struct section *s, struct world *world,
                             struct limits *limits, uint64_t tried, int64_t now_ms, uint32_t *ret)
{
	const struct pool *p = &rules->pools[s->index];
	atomic_uint *turns = &world->turns[s->index % WORLD_TURNS];
	uint32_t turn = 0;
	bool full = false;

	if (p->n == 0)
		return ROUTE_ALL_TRIED;
	if (p->n > 1)
		turn = atomic_fetch_add(turns, 1) % p->n_turns;
	for (enum rank rank = RANK_GOOD; rank < RANKS; rank++)
		for (uint32_t n = 0; n < p->n_turns; n++) {
			uint32_t i = p->turns[(turn + n) % p->n_turns];
			const struct server *server = &s->servers[i];
			const struct target *t = NULL;

			if (p->targets[i] < TARGETS_MAX)
				t = &world->targets.list[p->targets[i]];
			if (was_tried(tried, i) ||
			    (t ? admin_state_is_out(&t->admin_state, server->disabled) : server->disabled))
				continue;
			if (rank_of(server, t ? &world->experience[p->targets[i]] : NULL, now_ms) != rank)
				continue;
			if (limits_take(limits, p->limit_keys[i], server->max)) {
				/* a server that was passed over has had its turn: else the next in line
				 * would get that share on top of its own */
				if (n > 0)
					atomic_fetch_add(turns, n);
				*ret = i;
				return ROUTE_FOUND;
			}
			full = true;
		}
	return full ? ROUTE_ALL_FULL : ROUTE_ALL_TRIED;
}
