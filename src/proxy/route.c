#include "proxy/route.h"

/* From the best to the last resort. Asking one again that refuses is cheap; nobody is to wait for one that is silent while there is a
 * backup. */
enum rank {
	RANK_UP,
	RANK_UNKNOWN,
	RANK_REFUSED,
	RANK_BACKUP_UP,
	RANK_BACKUP_UNKNOWN,
	RANK_BACKUP_REFUSED,
	RANK_SILENT,
	RANK_BACKUP_SILENT,
	RANK_DOWN, /* with `on-down try` alone */
	RANKS,
	RANK_NEVER = RANKS
};

static enum rank rank_of(enum known known, bool backup, bool try_down)
{
	switch (known) {
	case KNOWN_UP:
		return backup ? RANK_BACKUP_UP : RANK_UP;
	case KNOWN_UNKNOWN:
		return backup ? RANK_BACKUP_UNKNOWN : RANK_UNKNOWN;
	case KNOWN_REFUSED:
		return backup ? RANK_BACKUP_REFUSED : RANK_REFUSED;
	case KNOWN_SILENT:
		return backup ? RANK_BACKUP_SILENT : RANK_SILENT;
	case KNOWN_DOWN:
		break;
	}
	return try_down ? RANK_DOWN : RANK_NEVER;
}

static bool was_tried(uint64_t tried, uint32_t i)
{
	/* servers beyond the 64th share the last bit: when one of them fails, none of them is tried */
	return tried >> (i < ROUTE_POOL_MAX ? i : ROUTE_POOL_MAX - 1) & 1;
}

/* Its admin state, or the file, lets no client come. */
static bool is_out(const struct world *w, uint32_t target, const struct server *server)
{
	return target < TARGETS_MAX ? admin_state_is_out(&w->targets.list[target].admin_state, server->disabled)
	                            : server->disabled;
}

/* patient: rather none than a backup, if a primary would do but for its limit. */
static enum route_result choose(const struct ruleset *rules, const struct section *s, struct world *world,
                                struct limits *limits, uint64_t tried, int64_t now_ms, bool patient, uint32_t *ret)
{
	const struct pool *p = &rules->pools[s->index];
	atomic_uint *turns = &world->turns[s->index % WORLD_TURNS];
	uint32_t turn = 0;
	unsigned seen = 1; /* a bit for each rank that there is; the first is looked at in any case */
	bool full = false;

	if (p->n == 0)
		return ROUTE_ALL_TRIED;
	if (p->n > 1)
		turn = atomic_fetch_add(turns, 1) % p->n_turns;
	for (enum rank rank = RANK_UP; rank < RANKS; rank++) {
		if (patient && full && rank == RANK_BACKUP_UP)
			break;
		if (!(seen >> rank & 1))
			continue;
		for (uint32_t n = 0; n < p->n_turns; n++) {
			uint32_t i = p->turns[(turn + n) % p->n_turns];
			const struct server *server = &s->servers[i];
			enum rank its;

			if (was_tried(tried, i) || is_out(world, p->targets[i], server) ||
			    world_agent_is_out(world, p->seats[i], p->asks[i]))
				continue;
			its = rank_of(world_known(world, p->targets[i], p->seats[i], p->asks[i], now_ms),
			              server->backup, s->on_down == ON_DOWN_TRY);
			seen |= 1u << its;
			if (its != rank)
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
	}
	return full ? ROUTE_ALL_FULL : seen >> RANK_NEVER & 1 ? ROUTE_ALL_DOWN : ROUTE_ALL_TRIED;
}

enum route_result route_next(const struct ruleset *rules, const struct section *s, struct world *world,
                             struct limits *limits, uint64_t tried, int64_t now_ms, uint32_t *ret)
{
	return choose(rules, s, world, limits, tried, now_ms, false, ret);
}

enum route_result route_next_patiently(const struct ruleset *rules, const struct section *s, struct world *world,
                                       struct limits *limits, uint64_t tried, int64_t now_ms, uint32_t *ret)
{
	return choose(rules, s, world, limits, tried, now_ms, true, ret);
}

/* Nothing is known against it but what is old. */
static bool is_well(const struct world *w, uint32_t target, enum known known)
{
	return (known == KNOWN_UP || known == KNOWN_UNKNOWN) &&
	       (target >= TARGETS_MAX || target_health(&w->experience[target]).finding != FAILS);
}

struct route_outlook route_look(const struct ruleset *rules, const struct section *s, const struct world *world,
                                const struct limits *limits, int64_t now_ms)
{
	const struct pool *p = &rules->pools[s->index];
	struct route_outlook ret = {0};
	bool usable[2] = {0}, room[2] = {0}; /* those that are asked first; backups, and who was silent */

	for (uint32_t i = 0; i < p->n; i++) {
		const struct server *server = &s->servers[i];
		uint32_t target = p->targets[i];
		enum known known = world_known(world, target, p->seats[i], p->asks[i], now_ms);
		bool late;

		if (is_out(world, target, server) ||
		    rank_of(known, server->backup, s->on_down == ON_DOWN_TRY) == RANK_NEVER ||
		    (target < TARGETS_MAX && atomic_load(&world->targets.list[target].state) == TARGET_UNRESOLVED))
			continue;
		late = server->backup || known == KNOWN_SILENT;
		usable[late] = true;
		ret.well |= is_well(world, target, known);
		room[late] |= server->max == 0 || limits_count(limits, p->limit_keys[i]) < server->max;
	}
	ret.usable = usable[0] || usable[1];
	ret.room = usable[0] ? room[0] : room[1];
	return ret;
}
