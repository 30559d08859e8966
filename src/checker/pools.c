#include "checker/pools.h"

#include <stdlib.h>
#include "base/mem.h"

static void stand(struct pools *p, const struct section *s)
{
	struct pool_standing *pool = &p->list[s->index];
	const struct config *c = p->config;

	pool->service = world_service(p->world, c, s);
	pool->whole = world_service(p->world, c, &c->sections[c->services[s->service].root]);
	pool->usable = true;
	if (!section_may_refuse(s))
		return;
	pool->hold_ms = s->hold.time_ms;
	pool->n = s->n_servers;
	pool->list = mem_alloc((pool->n + 1) * sizeof(*pool->list));
	for (size_t i = 0; i < pool->n; i++)
		pool->list[i] = world_standing(p->world, c, s, &s->servers[i]);
}

struct pools *pools_new(const struct config *c, const struct world *world)
{
	struct pools *p = mem_alloc(sizeof(*p));

	*p = (struct pools){.config = c, .world = world};
	p->list = mem_alloc((c->n_sections + 1) * sizeof(*p->list));
	for (size_t i = 0; i < c->n_sections; i++)
		stand(p, &c->sections[i]);
	return p;
}

void pools_free(struct pools *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->config->n_sections; i++)
		free(p->list[i].list);
	free(p->list);
	free(p);
}

static bool any_usable(const struct pools *p, const struct pool_standing *pool, int64_t now_ms)
{
	for (size_t i = 0; i < pool->n; i++)
		if (world_standing_usable(p->world, &pool->list[i], now_ms))
			return true;
	return false;
}

/* With `hold TIME then refuse` clients are held first, for so long as if one was. */
static bool is_usable(const struct pools *p, struct pool_standing *pool, int64_t now_ms)
{
	if (any_usable(p, pool, now_ms)) {
		pool->none_ms = 0;
		return true;
	}
	if (!pool->none_ms)
		pool->none_ms = now_ms;
	return now_ms - pool->none_ms < pool->hold_ms;
}

void pools_look(struct pools *p, int64_t now_ms)
{
	for (size_t i = 0; i < p->config->n_sections; i++)
		if (p->list[i].list)
			p->list[i].usable = is_usable(p, &p->list[i], now_ms);
}
