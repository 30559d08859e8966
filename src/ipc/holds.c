/*
 * holds.c - what holds for a server of a section: what tcpproxyctl says, else its agent, else the file.
 *
 * tcpproxyctl speaks of a server, or of a line that stands for many (`each`, srv:), for all its members, those that come later, too.
 * For each of the words the nearer one counts: what is said of the server itself, and where that says nothing, what is said of its line.
 * Each stands in one place, and they are joined here by whoever asks: a change of a line is one word, however many members it has.
 */
#include "ipc/world.h"

#define NEAREST  0
#define FARTHEST 1

/* What was said of it, or farther; NULL: there is nothing of which that could be said. */
static const struct target *spoken_of(const struct world *w, const struct standing *s, int how_far)
{
	uint32_t i = how_far == NEAREST ? s->target : s->line;

	return i < TARGETS_MAX ? &w->targets.list[i] : NULL;
}

enum admin_state world_admin_state(const struct world *w, const struct standing *s)
{
	unsigned state = ADMIN_STATE_BY_FILE;

	for (int i = NEAREST; i <= FARTHEST && state == ADMIN_STATE_BY_FILE; i++) {
		const struct target *t = spoken_of(w, s, i);

		if (t)
			state = atomic_load_explicit(&t->admin_state, memory_order_relaxed);
	}
	return (enum admin_state)state;
}

enum force world_force(const struct world *w, const struct standing *s)
{
	enum force force = FORCE_NOT_SAID;

	for (int i = NEAREST; i <= FARTHEST && force == FORCE_NOT_SAID; i++) {
		const struct target *t = spoken_of(w, s, i);

		if (t)
			force = changed_force(&t->changed);
	}
	return force == FORCE_UP || force == FORCE_DOWN ? force : FORCE_AUTO;
}

static struct agent_view agent_of(const struct world *w, const struct standing *s)
{
	return s->seat < SEATS_MAX ? agent_read(&w->health[s->seat], s->asks) : AGENT_SILENT;
}

/* The nearest that says another one than the file's, unless a nearer one says that it is the file's; NULL: none does. */
static const struct changed *weight_said(const struct world *w, const struct standing *s)
{
	for (int i = NEAREST; i <= FARTHEST; i++) {
		const struct target *t = spoken_of(w, s, i);
		enum weight_how how = t ? changed_how(&t->changed) : WEIGHT_NOT_SAID;

		if (how != WEIGHT_NOT_SAID)
			return how == WEIGHT_BY_FILE ? NULL : &t->changed;
	}
	return NULL;
}

bool world_has_weight(const struct world *w, const struct standing *s)
{
	return weight_said(w, s) != NULL;
}

uint32_t world_weight(const struct world *w, const struct standing *s)
{
	const struct changed *said = weight_said(w, s);
	struct agent_view agent;

	if (said)
		return changed_weight(said, s->weight);
	agent = agent_of(w, s);
	if (agent.weight < 0)
		return s->weight;
	return agent.in_percent ? changed_percent_of((uint32_t)agent.weight, s->weight) : (uint32_t)agent.weight;
}

uint32_t world_max(const struct world *w, const struct standing *s, uint32_t file)
{
	struct agent_view agent;

	for (int i = NEAREST; i <= FARTHEST; i++) {
		const struct target *t = spoken_of(w, s, i);

		if (t && changed_keeps_max(&t->changed))
			break;
		if (t && changed_has_max(&t->changed))
			return changed_max(&t->changed, file);
	}
	agent = agent_of(w, s);
	return agent.max < 0 ? file : agent.max > UINT32_MAX ? 0 : (uint32_t)agent.max;
}

bool world_is_out(const struct world *w, const struct standing *s)
{
	struct agent_view agent = agent_of(w, s);
	enum admin_state state = world_admin_state(w, s);
	bool enabled = state == ADMIN_STATE_ENABLED;

	if (state == ADMIN_STATE_BY_FILE ? s->disabled : !enabled)
		return true;
	return (!enabled && (agent.drain || agent.maint)) || world_weight(w, s) == 0;
}
