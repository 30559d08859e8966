#include "proxy/ruleset.h"

#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/mem.h"
#include "os/sock.h"
#include "proxy/limits.h"

#define TURNS_MAX 4096

/* The order in which servers of these weights take turns: each time the one that is most behind its
 * share (smooth weighted round-robin). */
static void plan_turns(struct pool *p, const struct server *servers)
{
	int64_t *credit = mem_alloc(p->n * sizeof(*credit));
	uint64_t sum = 0;

	for (uint32_t i = 0; i < p->n; i++)
		sum += servers[i].weight;
	p->n_turns = sum > TURNS_MAX ? TURNS_MAX : (uint32_t)sum;
	p->turns = mem_alloc(p->n_turns * sizeof(*p->turns));
	for (uint32_t t = 0; t < p->n_turns; t++) {
		uint32_t best = 0;

		for (uint32_t i = 0; i < p->n; i++) {
			credit[i] += servers[i].weight;
			if (credit[i] > credit[best])
				best = i;
		}
		credit[best] -= (int64_t)sum;
		p->turns[t] = best;
	}
	free(credit);
}

static void load_pool(struct pool *p, const struct config *c, const struct section *s, const struct world *world)
{
	p->n = (uint32_t)s->n_servers;
	if (p->n == 0)
		return;
	p->targets = mem_alloc(p->n * sizeof(*p->targets));
	p->seats = mem_alloc(p->n * sizeof(*p->seats));
	p->asks = mem_alloc(p->n * sizeof(*p->asks));
	p->limit_keys = mem_alloc(p->n * sizeof(*p->limit_keys));
	for (uint32_t i = 0; i < p->n; i++) {
		const char *key = s->servers[i].key;

		p->targets[i] = world_target(world, c, s, &s->servers[i]);
		p->seats[i] = world_seat(world, c, s, &s->servers[i]);
		p->asks[i] = p->seats[i] < SEATS_MAX ? atomic_load(&world->seats.list[p->seats[i]].asks) : 0;
		p->limit_keys[i] = limit_key(LIMIT_SERVER, key, strlen(key));
	}
	plan_turns(p, s->servers);
}

/* A section is known by its service, and by what it is about. */
static uint64_t line_of(const struct config *c, const struct section *s)
{
	char net[ADDR_TEXT_MAX];
	char *what = mem_printf("%u %d %s %s", c->services[s->service].ports[0].first, (int)s->kind,
	                        s->kind == INTERFACE_NAME ? s->name : "",
	                        s->kind == INTERFACE_NONE || s->kind == INTERFACE_NAME
	                                ? ""
	                                : cidr_format_zone(&s->net, config_zone(c, s->zone), net));
	uint64_t ret = hash_bytes(HASH_START, what, strlen(what)) << 1;

	free(what);
	return ret ? ret : 2;
}

static bool may_come_home(const struct ruleset *r)
{
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
	r->config = c;
	r->labels = mem_alloc(c->n_sections * sizeof(*r->labels));
	memcpy(r->labels, rest.labels, c->n_sections * sizeof(*r->labels));
	r->n_ifs = rest.n_ifs;
	r->ifs = mem_alloc(r->n_ifs * sizeof(*r->ifs) + 1);
	memcpy(r->ifs, rest.ifs, r->n_ifs * sizeof(*r->ifs));
	r->pools = mem_alloc(c->n_sections * sizeof(*r->pools));
	for (size_t i = 0; i < c->n_sections; i++) {
		load_pool(&r->pools[i], c, &c->sections[i], world);
		r->pools[i].line = line_of(c, &c->sections[i]);
	}
	r->service_keys = mem_alloc(c->n_services * sizeof(*r->service_keys));
	for (size_t i = 0; i < c->n_services; i++) /* a service is known by its first port */
		r->service_keys[i] =
		        limit_key(LIMIT_SERVICE, &c->services[i].ports[0].first, sizeof(c->services[i].ports[0].first));
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
		free(r->pools[i].seats);
		free(r->pools[i].asks);
		free(r->pools[i].limit_keys);
		free(r->pools[i].turns);
	}
	home_release(&r->home);
	config_free(r->config);
	free(r->pools);
	free(r->service_keys);
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
