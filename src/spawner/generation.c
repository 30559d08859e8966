#include "spawner/generation.h"

#include <stdlib.h>
#include "base/mem.h"

#define KEPT 4

void generation_put(struct generation *g)
{
	if (!g || --g->refs > 0)
		return;
	config_free(g->config);
	free(g);
}

struct generation *generation_get(struct generation *list, uint64_t number)
{
	struct generation *g = list;

	while (g && g->number != number)
		g = g->next;
	if (g)
		g->refs++;
	return g;
}

void generation_add(struct generation **list, struct config *c, uint64_t number)
{
	struct generation *g = mem_alloc(sizeof(*g)), **last = list;

	*g = (struct generation){*list, number, c, 1};
	*list = g;
	for (int i = 0; i < KEPT && *last; i++)
		last = &(*last)->next;
	g = *last; /* at most one is too many */
	*last = NULL;
	generation_put(g);
}

void generation_drop_all(struct generation **list)
{
	struct generation *g;

	while ((g = *list)) {
		*list = g->next;
		generation_put(g);
	}
}
