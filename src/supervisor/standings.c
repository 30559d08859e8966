/* standings.c - where the servers of the configuration stand in the world. To find one is linear, and thousands may change at once: all
 * are found when one is asked for first. */
#include <stdlib.h>
#include "base/mem.h"
#include "supervisor/state.h"

/* What is said of a server is one word for all who have it with the same checks (server_state.h), so one that some section ejects is
 * ejected. */
static void mark_ejected(struct standings *t, size_t n)
{
	bool *ejects = mem_alloc(TARGETS_MAX * sizeof(*ejects));

	for (size_t i = 0; i < n; i++)
		if (t->list[i].ejects && t->list[i].target < TARGETS_MAX)
			ejects[t->list[i].target] = true;
	for (size_t i = 0; i < n; i++)
		t->list[i].ejects = t->list[i].target < TARGETS_MAX && ejects[t->list[i].target];
	free(ejects);
}

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
	if (config_ejects(c))
		mark_ejected(&s->standings, n);
}

bool standings_ejects(struct supervisor *s, uint32_t target)
{
	const struct config *c = s->rules.config;

	for (size_t i = 0; i < c->n_sections && config_ejects(c); i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++)
			if (standings_of(s, &c->sections[i])[k].target == target)
				return standings_of(s, &c->sections[i])[k].ejects;
	return false;
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
