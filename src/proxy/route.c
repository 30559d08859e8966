#include "proxy/route.h"

#include "ipc/slow_start.h"
#include "proxy/balance.h"
#include "proxy/shortlist.h"

#define ROUTE_LOOKS 8 /* other workers may be faster each time */

/*
 * From the best to the last resort, as a number: those of the first tier that are up, that nothing is known of, that refused a client
 * lately; then those of the next tier in the same order, and so on; then those that were silent, by tier; then those that are ejected.
 * Asking one again that refuses is cheap; nobody is to wait for one that is silent while there is a backup.
 */
typedef uint32_t rank_t;

#define RANKS_OF_TIER   4u
#define RANK_BACKUP     RANKS_OF_TIER /* from here on: of a tier behind the first, or silent */
#define RANK_SILENT     (RANKS_OF_TIER * (POOL_TIERS_MAX + 1))
#define RANK_EJECTED    (RANK_SILENT + POOL_TIERS_MAX + 1)
#define RANK_DOWN       (RANK_EJECTED + POOL_TIERS_MAX + 1) /* with `on-down try` alone */
#define RANK_NEVER_DOWN (RANK_DOWN + 1)
#define RANK_NEVER      (RANK_NEVER_DOWN + 1) /* for another reason */

static rank_t rank_of(enum known known, uint32_t tier, bool try_down)
{
	switch (known) {
	case KNOWN_UP:
	case KNOWN_UNKNOWN:
	case KNOWN_REFUSED:
		return tier * RANKS_OF_TIER + (rank_t)known;
	case KNOWN_SILENT:
		return RANK_SILENT + tier;
	case KNOWN_EJECTED:
		return RANK_EJECTED + tier;
	case KNOWN_DOWN:
		break;
	}
	return try_down ? RANK_DOWN : RANK_NEVER_DOWN;
}
_Static_assert(KNOWN_UP == 0 && KNOWN_REFUSED < RANKS_OF_TIER, "the ranks of a tier are what is known");

static bool was_tried(uint64_t tried, uint32_t i)
{
	/* servers beyond the 64th share the last bit: when one of them fails, none of them is tried */
	return tried >> (i < ROUTE_POOL_MAX ? i : ROUTE_POOL_MAX - 1) & 1;
}

/* A look at a pool: who of it may have the client. */
struct look {
	const struct pool *pool;
	const struct section *section;
	struct world *world;
	const struct limits *limits;
	uint64_t tried;
	int64_t now_ms;
	bool mind_limits; /* one was full: from now on each is asked first */
	/* found */
	rank_t best;
	uint32_t n; /* of pool->contenders, all of this rank */
	bool full, down;
	bool full_first; /* one is full that would have come before the backups */
};

static struct standing standing_now(const struct look *l, uint32_t i)
{
	const struct pool *p = l->pool;
	const struct server *server = &l->section->servers[i];

	return (struct standing){.target = p->targets[i],
	                         .seat = p->seats[i],
	                         .asks = p->asks[i],
	                         .disabled = server->disabled,
	                         .weight = server->weight,
	                         .line = p->lines[i],
	                         .service = p->service,
	                         .whole = p->whole};
}

static rank_t rank_now(const struct look *l, uint32_t i)
{
	const struct standing s = standing_now(l, i);

	if (was_tried(l->tried, i) || world_is_out(l->world, &s))
		return RANK_NEVER;
	return rank_of(world_known_in(l->world, l->section, &s, l->now_ms), l->pool->tiers[i],
	               l->section->on_down == ON_DOWN_TRY);
}

static uint32_t max_now(const struct look *l, uint32_t i)
{
	const struct standing s = standing_now(l, i);

	return slow_start_max(l->world, l->section, &s, world_max(l->world, &s, l->section->servers[i].max), l->now_ms);
}

static bool is_full(const struct look *l, uint32_t i)
{
	uint32_t max = max_now(l, i);

	return max && limits_count(l->limits, l->pool->limit_keys[i]) >= max;
}

/* Of one that is looked at in the next milliseconds by many clients: a search for each of them would take longer than all the rest. */
static bool counts_are_noted(const struct look *l)
{
	return l->pool->shortlist && (l->section->balance == BALANCE_LEAST_CONNECTIONS || l->section->bounded);
}

/* Its weight hardly ever changes, and a division takes longer than the rest. */
static void enter(struct look *l, uint32_t i)
{
	const struct pool *p = l->pool;
	struct contender *c = &p->contenders[l->n++];
	const struct standing s = standing_now(l, i);

	c->weight = world_weight(l->world, &s) * WEIGHT_ONE;
	if (l->section->slow_start_ms)
		c->weight = slow_start_part(slow_start_grown(l->world, l->section, &s, l->now_ms), c->weight);
	if (c->weight == 0) /* since we looked: this client may still come */
		c->weight = WEIGHT_ONE;
	if (p->weights[i] != c->weight) {
		p->weights[i] = c->weight;
		p->strides[i] = round_robin_stride(c->weight);
	}
	c->member = i;
	if (counts_are_noted(l))
		c->connections = limits_count(l->limits, p->limit_keys[i]);
	c->stride = p->strides[i];
	c->pass = &l->world->pass[(p->first_pass + i) % WORLD_PASSES];
}

/* What the last look at all of a large pool has found. */
static bool recall(struct look *l)
{
	const struct shortlist *list = l->pool->shortlist;

	if (!list || l->tried || l->mind_limits || l->now_ms >= list->until_ms)
		return false;
	l->best = list->rank;
	l->n = list->n;
	return true;
}

static void note(const struct look *l)
{
	struct shortlist *list = l->pool->shortlist;

	if (!list || l->tried || l->mind_limits || l->n == 0)
		return;
	shortlist_set(list, l->pool->contenders, l->n, l->section->balance, l->pool->hashes);
	list->rank = l->best;
	list->until_ms = l->now_ms + shortlist_ms(l->pool->n);
}

static void forget(const struct look *l)
{
	if (l->pool->shortlist)
		l->pool->shortlist->until_ms = 0;
}

/* The contenders are those of the list, in its order. */
static bool is_listed(const struct look *l)
{
	return l->pool->shortlist && l->pool->shortlist->until_ms != 0;
}

/* What a list has no order for. */
static bool needs_all(const struct look *l)
{
	const struct section *s = l->section;

	return (s->balance == BALANCE_SOURCE || s->balance == BALANCE_HASH) &&
	       (s->bounded || !l->pool->shortlist->equal);
}

static void look(struct look *l)
{
	const struct pool *p = l->pool;

	forget(l);
	l->best = RANK_NEVER_DOWN;
	l->n = 0;
	for (uint32_t i = 0; i < p->n; i++) {
		rank_t rank = rank_now(l, i);

		l->down |= rank == RANK_NEVER_DOWN;
		if (rank > l->best || rank >= RANK_NEVER_DOWN)
			continue;
		if (l->mind_limits && is_full(l, i)) {
			l->full = true;
			l->full_first |= rank < RANK_BACKUP;
			continue;
		}
		if (rank < l->best)
			l->n = 0;
		l->best = rank;
		enter(l, i);
	}
	note(l);
}

/* Of those that the look has found, by `balance`. */
static uint32_t pick(struct look *l, const struct route_client *client, uint64_t *random)
{
	const struct pool *p = l->pool;
	const struct connection_counts counts = {l->limits, p->limit_keys, counts_are_noted(l)};

	if (p->n == 1)
		return 0;
	if (is_listed(l) && !needs_all(l))
		return shortlist_pick(p->shortlist, p->contenders, l->section->balance, hash_client(client->addr),
		                      random, &counts);
	switch (l->section->balance) {
	case BALANCE_LEAST_CONNECTIONS:
		l->n = least_connections(p->contenders, l->n, &counts);
		break;
	case BALANCE_RANDOM:
		return random_pick(p->contenders, l->n, &counts, random);
	case BALANCE_SOURCE:
	case BALANCE_HASH:
		return hash_pick(p->contenders, l->n, hash_client(client->addr), p->hashes, l->section->bounded,
		                 &counts);
	case BALANCE_FIRST:
		return 0;
	case BALANCE_ROUND_ROBIN:
		break;
	}
	return round_robin_pick(p->contenders, l->n);
}

static bool takes_turns(const struct section *s)
{
	return s->balance == BALANCE_ROUND_ROBIN || s->balance == BALANCE_LEAST_CONNECTIONS;
}

/* It has its place; then it has its turn, too: who is full has had none. False: another worker was faster. */
static bool take_turn(const struct look *l, uint32_t turn)
{
	if (l->pool->n == 1)
		return true;
	if (!takes_turns(l->section)) {
		l->pool->contenders[turn].connections++;
		return true;
	}
	if (is_listed(l))
		return shortlist_turn(l->pool->shortlist, l->pool->contenders, turn, l->section->balance);
	return round_robin_turn(l->pool->contenders, l->n, turn);
}

/* Its server of before, if a client may come to it now, and need not expect it to be silent. */
static bool find_stuck(const struct look *l, const struct route_client *client, uint32_t *ret)
{
	const struct pool *p = l->pool;
	struct stuck before = stick_find(client->stick, client->stick_key, &l->world->targets, client->now_ms);

	if (before.target == TARGET_NONE || before.age_ms >= l->section->stick.time_ms)
		return false;
	for (uint32_t i = 0; i < p->n; i++)
		if (p->targets[i] == before.target) {
			*ret = i;
			return rank_now(l, i) < RANK_SILENT;
		}
	return false;
}

static bool has_stuck(const struct look *l, struct limits *limits, const struct route_client *client, uint32_t *ret)
{
	return find_stuck(l, client, ret) && limits_take(limits, l->pool->limit_keys[*ret], max_now(l, *ret));
}

static enum route_result balanced(struct look *l, struct limits *limits, const struct route_client *client,
                                  uint64_t *random, uint32_t *ret)
{
	const struct pool *p = l->pool;

	for (int looks = 1; looks <= ROUTE_LOOKS; looks++) {
		bool recalled = recall(l);
		struct contender *c;
		uint32_t turn;

		if (!recalled)
			look(l);
		if (client->patient && l->full_first && l->best >= RANK_BACKUP)
			return ROUTE_ALL_FULL;
		if (l->n == 0)
			return l->full ? ROUTE_ALL_FULL : l->down ? ROUTE_ALL_DOWN : ROUTE_ALL_TRIED;
		turn = pick(l, client, random);
		c = &p->contenders[turn];
		if (recalled && rank_now(l, c->member) != l->best) {
			forget(l);
			continue;
		}
		if (!limits_take(limits, p->limit_keys[c->member], max_now(l, c->member))) {
			l->full = l->mind_limits = true;
			continue;
		}
		if (take_turn(l, turn) || looks == ROUTE_LOOKS) {
			*ret = c->member;
			return ROUTE_FOUND;
		}
		limits_give(limits, p->limit_keys[c->member]);
	}
	return ROUTE_ALL_FULL;
}

enum route_result route_next(const struct ruleset *rules, const struct section *s, struct world *world,
                             struct limits *limits, const struct route_client *client, uint32_t *ret)
{
	const struct pool *p = &rules->pools[s->index];
	struct look l = {.pool = p,
	                 .section = s,
	                 .world = world,
	                 .limits = limits,
	                 .tried = client->tried,
	                 .now_ms = client->now_ms,
	                 .mind_limits = client->patient};
	enum route_result result = ROUTE_FOUND;

	if (!client->stick || !has_stuck(&l, limits, client, ret))
		result = balanced(&l, limits, client, rules->random, ret);
	if (client->stick && result == ROUTE_FOUND)
		stick_set(client->stick, client->stick_key, &world->targets, p->targets[*ret], client->now_ms);
	return result;
}

/* As a look finds it; RANK_NEVER: whatever a client could do. */
static rank_t outlook_of(const struct look *l, uint32_t i)
{
	uint32_t target = l->pool->targets[i];

	if (target < TARGETS_MAX && atomic_load(&l->world->targets.list[target].state) == TARGET_UNRESOLVED)
		return RANK_NEVER;
	return rank_now(l, i);
}

enum route_result route_explain(const struct ruleset *rules, const struct section *s, struct world *world,
                                const struct limits *limits, const struct route_client *client, bool *equals,
                                uint32_t *ret)
{
	struct look l = {.pool = &rules->pools[s->index],
	                 .section = s,
	                 .world = world,
	                 .limits = limits,
	                 .now_ms = client->now_ms,
	                 .mind_limits = true};
	uint32_t turn;

	for (uint32_t i = 0; i < l.pool->n && i < ROUTE_POOL_MAX; i++)
		if (outlook_of(&l, i) == RANK_NEVER)
			l.tried |= 1ULL << i;
	look(&l);
	if (l.n == 0 || (client->patient && l.full_first && l.best >= RANK_BACKUP))
		return l.full ? ROUTE_ALL_FULL : l.down ? ROUTE_ALL_DOWN : ROUTE_ALL_TRIED;
	for (uint32_t i = 0; i < l.n; i++)
		equals[l.pool->contenders[i].member] = true;
	turn = pick(&l, client, rules->random);
	*ret = l.pool->contenders[turn].member;
	return ROUTE_FOUND;
}

bool route_sticks(const struct ruleset *rules, const struct section *s, struct world *world,
                  const struct limits *limits, const struct route_client *client, uint32_t *ret)
{
	const struct look l = {.pool = &rules->pools[s->index],
	                       .section = s,
	                       .world = world,
	                       .limits = limits,
	                       .now_ms = client->now_ms};
	uint32_t i;

	if (!client->stick || !find_stuck(&l, client, &i) || is_full(&l, i))
		return false;
	*ret = i;
	return true;
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
	const struct look l = {
	        .pool = p, .section = s, .world = (struct world *)world, .limits = limits, .now_ms = now_ms};
	struct route_outlook ret = {0};
	bool usable[2] = {0}, room[2] = {0}; /* those that are asked first; backups, and who was silent */

	for (uint32_t i = 0; i < p->n; i++) {
		const struct standing standing = standing_now(&l, i);
		enum known known = world_known_in(world, s, &standing, now_ms);
		bool late = p->tiers[i] > 0 || known == KNOWN_SILENT || known == KNOWN_EJECTED;

		if (outlook_of(&l, i) >= RANK_NEVER_DOWN)
			continue;
		usable[late] = true;
		ret.well |= is_well(world, p->targets[i], known);
		room[late] |= !is_full(&l, i);
	}
	ret.usable = usable[0] || usable[1];
	ret.room = usable[0] ? room[0] : room[1];
	return ret;
}
