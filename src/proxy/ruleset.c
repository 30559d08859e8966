#include "proxy/ruleset.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/random.h"
#include "os/sock.h"
#include "proxy/balance.h"
#include "proxy/limits.h"
#include "proxy/shortlist.h"

/* ---- which are asked first ---- */

struct priority {
	uint32_t source; /* and one; 0: a line of its own */
	uint16_t priority;
	uint32_t member;
};

static int compare_priorities(const void *pa, const void *pb)
{
	const struct priority *a = pa, *b = pb;

	if (a->source != b->source)
		return a->source < b->source ? -1 : 1;
	return (int)a->priority - (int)b->priority;
}

/* Within its source: how many lower priorities there are. */
static void load_priorities(struct pool *p, const struct section *s)
{
	struct priority *list = mem_alloc(p->n * sizeof(*list));
	uint32_t tier = 0;

	for (uint32_t i = 0; i < p->n; i++)
		list[i] = (struct priority){s->servers[i].from == FROM_SOURCE ? s->servers[i].source + 1 : 0,
		                            s->servers[i].priority, i};
	qsort(list, p->n, sizeof(*list), compare_priorities);
	for (uint32_t i = 0; i < p->n; i++) {
		if (i == 0 || list[i].source != list[i - 1].source)
			tier = 0;
		else if (list[i].priority != list[i - 1].priority)
			tier++;
		p->tiers[list[i].member] = tier;
	}
	free(list);
}

/* Those that their line calls backups come behind all others. */
static void load_tiers(struct pool *p, const struct section *s)
{
	uint32_t last = 0;

	load_priorities(p, s);
	for (uint32_t i = 0; i < p->n; i++)
		if (!s->servers[i].backup && p->tiers[i] > last)
			last = p->tiers[i];
	for (uint32_t i = 0; i < p->n; i++)
		if (s->servers[i].backup)
			p->tiers[i] += last + 1;
}

/* ---- pools ---- */

static void load_pool(struct pool *p, const struct config *c, const struct section *s, const struct world *world)
{
	p->n = (uint32_t)s->n_servers;
	p->service = world_service(world, c, s);
	p->whole = service_whole(&world->services, p->service);
	if (p->n == 0)
		return;
	p->targets = mem_alloc(p->n * sizeof(*p->targets));
	p->seats = mem_alloc(p->n * sizeof(*p->seats));
	p->lines = mem_alloc(p->n * sizeof(*p->lines));
	p->asks = mem_alloc(p->n * sizeof(*p->asks));
	p->limit_keys = mem_alloc(p->n * sizeof(*p->limit_keys));
	p->hashes = mem_alloc(p->n * sizeof(*p->hashes));
	p->tiers = mem_alloc(p->n * sizeof(*p->tiers));
	p->contenders = mem_alloc(p->n * sizeof(*p->contenders));
	p->weights = mem_alloc(p->n * sizeof(*p->weights));
	p->strides = mem_alloc(p->n * sizeof(*p->strides));
	if (p->n > SHORTLIST_FROM)
		p->shortlist = shortlist_new(p->n);
	for (uint32_t i = 0; i < p->n; i++) {
		const char *key = s->servers[i].key;

		p->targets[i] = world_target(world, c, s, &s->servers[i]);
		p->lines[i] = world_line(world, c, s, &s->servers[i]);
		p->seats[i] = world_seat(world, c, s, &s->servers[i]);
		p->asks[i] = p->seats[i] < SEATS_MAX ? atomic_load(&world->seats.list[p->seats[i]].asks) : 0;
		p->limit_keys[i] = limit_key(LIMIT_SERVER, key, strlen(key));
		p->hashes[i] = hash_member(key);
	}
	load_tiers(p, s);
}

static bool may_come_home(const struct ruleset *r)
{
	for (size_t i = 0; i < r->config->n_services; i++)
		if (r->config->services[i].listen == LISTEN_PASSED) /* at which port is not said */
			return true;
	for (size_t i = 0; i < r->config->n_sections; i++)
		for (size_t k = 0; k < r->config->sections[i].n_servers; k++)
			if (home_may_be(&r->home, &r->config->sections[i].servers[k]))
				return true;
	return false;
}

struct ruleset *ruleset_load(const void *block, size_t len, uint64_t generation, const struct world *world)
{
	struct config *c = packed_config(block, len);
	struct ruleset *r;
	struct packed rest;

	if (!c || !packed_read(block, len, &rest) || rest.n_sections != c->n_sections) {
		config_free(c);
		return NULL;
	}
	r = mem_alloc(sizeof(*r));
	r->generation = generation;
	r->random = mem_alloc(sizeof(*r->random));
	*r->random = random_seed();
	r->config = c;
	r->labels = mem_alloc(c->n_sections * sizeof(*r->labels));
	memcpy(r->labels, rest.labels, c->n_sections * sizeof(*r->labels));
	r->n_ifs = rest.n_ifs;
	r->ifs = mem_alloc(r->n_ifs * sizeof(*r->ifs) + 1);
	memcpy(r->ifs, rest.ifs, r->n_ifs * sizeof(*r->ifs));
	r->pools = mem_alloc(c->n_sections * sizeof(*r->pools));
	for (size_t i = 0; i < c->n_sections; i++) {
		load_pool(&r->pools[i], c, &c->sections[i], world);
		r->pools[i].first_pass = i ? r->pools[i - 1].first_pass + r->pools[i - 1].n : 0;
		r->pools[i].line = config_section_number(c, &c->sections[i]);
	}
	r->service_keys = mem_alloc(c->n_services * sizeof(*r->service_keys));
	for (size_t i = 0; i < c->n_services; i++)
		r->service_keys[i] = limit_key(LIMIT_SERVICE, &c->services[i].number, sizeof(c->services[i].number));
	r->services = mem_alloc(c->n_sections * sizeof(*r->services));
	for (size_t i = 0; i < c->n_sections; i++) {
		uint32_t n = world_service(world, c, &c->sections[i]);

		r->services[i] = n < COUNTED_SERVICES ? n : COUNTED_SERVICES - 1;
	}
	home_init(&r->home, c, r->ifs, r->n_ifs);
	r->may_come_home = may_come_home(r);
	return r;
}

void ruleset_free(struct ruleset *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->config->n_sections; i++) {
		free(r->pools[i].targets);
		free(r->pools[i].lines);
		free(r->pools[i].seats);
		free(r->pools[i].asks);
		free(r->pools[i].limit_keys);
		free(r->pools[i].hashes);
		free(r->pools[i].tiers);
		free(r->pools[i].contenders);
		shortlist_free(r->pools[i].shortlist);
		free(r->pools[i].weights);
		free(r->pools[i].strides);
	}
	home_release(&r->home);
	config_free(r->config);
	free(r->pools);
	free(r->service_keys);
	free(r->random);
	free(r->services);
	free(r->labels);
	free(r->ifs);
	free(r);
}

static uint32_t interface_index(void *arg, const char *name)
{
	int index = sock_interface_index(*(const int *)arg, name);

	return index < 0 ? 0 : (uint32_t)index;
}

void ruleset_look_at_zones(struct ruleset *r, int fd, const struct addr *local, const struct addr *client)
{
	if (r->config->n_zones > 0 && (local->scope || client->scope))
		config_look_at_zones(r->config, interface_index, &fd);
}

const struct section *ruleset_find(const struct ruleset *r, const struct addr *local)
{
	return config_find(r->config, local, r->ifs, r->n_ifs);
}
