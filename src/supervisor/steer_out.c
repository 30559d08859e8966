/* steer_out.c - who was out by what tcpproxyctl or the file says, and is no longer: it comes, and may have to grow (slow_start.h). */
#include <stdlib.h>
#include "base/mem.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

static bool is_out(const struct world *w, const struct standing *of)
{
	enum admin_state state = world_admin_state(w, of);

	return (state == ADMIN_STATE_BY_FILE ? of->disabled : state != ADMIN_STATE_ENABLED) ||
	       world_force(w, of) == FORCE_DOWN;
}

bool *steer_note_out(struct supervisor *s)
{
	const struct world *w = s->children.workers.world;
	const struct config *c = s->rules.config;
	bool *out = mem_alloc(config_servers(c) + 1);
	size_t n = 0;

	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++)
			out[n++] = is_out(w, &standings_of(s, &c->sections[i])[k]);
	return out;
}

/* In the service alone of which something was said alone. */
static void come(struct world *w, const struct standing *of, int64_t now_ms)
{
	struct spot *p = (struct spot *)spots_find(&w->spots, of->service, of->target);

	if (!p)
		p = (struct spot *)spots_find(&w->spots, of->whole, of->target);
	changed_came(p ? &p->changed : &w->targets.list[of->target].changed, now_ms);
}

void steer_let_come(struct supervisor *s, bool *was_out)
{
	struct world *w = s->children.workers.world;
	const struct config *c = s->rules.config;
	size_t n = 0;

	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++) {
			const struct standing *of = &standings_of(s, &c->sections[i])[k];

			if (was_out[n++] && of->target < TARGETS_MAX && !is_out(w, of))
				come(w, of, s->loop.now_ms);
		}
	free(was_out);
}
