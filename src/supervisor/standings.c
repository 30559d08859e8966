/* standings.c - where the servers of the configuration stand in the world. To find one is linear, and thousands may change at once: all
 * are found when one is asked for first. */
#include <stdlib.h>
#include "base/mem.h"
#include "supervisor/state.h"

static void find_all(struct supervisor *s)
{
	const struct config *c = s->rules.config;
	size_t n = 0;

	s->standings.first = mem_alloc((c->n_sections + 1) * sizeof(*s->standings.first));
	for (size_t i = 0; i < c->n_sections; n += c->sections[i++].n_servers)
		s->standings.first[i] = n;
	s->standings.list = mem_alloc((n + 1) * sizeof(*s->standings.list));
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++)
			s->standings.list[s->standings.first[i] + k] = world_standing(
			        s->children.workers.world, c, &c->sections[i], &c->sections[i].servers[k]);
}

const struct standing *standings_of(struct supervisor *s, const struct section *section)
{
	if (!s->standings.list)
		find_all(s);
	return &s->standings.list[s->standings.first[section->index]];
}

const struct server *standings_find(struct supervisor *s, const struct section *section, uint32_t target, uint32_t seat)
{
	const struct standing *list = standings_of(s, section);

	for (size_t i = 0; i < section->n_servers; i++)
		if (list[i].target == target && list[i].seat == seat)
			return &section->servers[i];
	return NULL;
}

void standings_forget(struct supervisor *s)
{
	free(s->standings.list);
	free(s->standings.first);
	s->standings = (struct standings){0};
}
