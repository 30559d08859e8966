/*
 * holds.c - what holds for a server of a section: what tcpproxyctl says, else its agent, else the file.
 *
 * tcpproxyctl speaks of a server, or of a line that stands for many (`each`, srv:), for all its members, those that come later, too; in one
 * service, or in all. For each of the words the nearest one counts: of the server before the line, and of these in the section's own
 * service, in that whose section it is, in all. Each stands in one place, and they are joined here by whoever asks: a change is one word,
 * however many servers it reaches.
 */
#include "ipc/world.h"

struct standing world_standing_anywhere(const struct world *w, uint32_t target)
{
	uint32_t of = target < TARGETS_MAX ? atomic_load(&w->targets.list[target].of) : 0;

	return (struct standing){.target = target,
	                         .seat = SEAT_NONE,
	                         .weight = 1,
	                         .line = of && of <= TARGETS_MAX ? of - 1 : TARGET_NONE,
	                         .service = COUNTED_SERVICES,
	                         .whole = COUNTED_SERVICES};
}

struct spoken world_spoken_of(const struct world *w, uint32_t target)
{
	const struct target *t = &w->targets.list[target];

	return (struct spoken){&t->admin_state, &t->changed, target, COUNTED_SERVICES};
}

struct spoken spoken_of_spot(const struct spot *p)
{
	return (struct spoken){&p->admin_state, &p->changed, spot_target(p), spot_service(p)};
}

static size_t add_spot(const struct world *w, uint32_t service, uint32_t target, struct spoken *ret)
{
	const struct spot *p = service < COUNTED_SERVICES ? spots_find(&w->spots, service, target) : NULL;

	if (p)
		*ret = spoken_of_spot(p);
	return p != NULL;
}

static size_t add_all(const struct world *w, const struct standing *s, uint32_t target, struct spoken *ret)
{
	size_t n = 0;

	if (target >= TARGETS_MAX)
		return 0;
	if (atomic_load_explicit(&w->spots.n, memory_order_relaxed) > 0) {
		n += add_spot(w, s->service, target, &ret[n]);
		n += add_spot(w, s->whole, target, &ret[n]);
	}
	ret[n++] = world_spoken_of(w, target);
	return n;
}

size_t world_spoken(const struct world *w, const struct standing *s, struct spoken *ret)
{
	size_t n = add_all(w, s, s->target, ret);

	return n + add_all(w, s, s->line, ret + n);
}

size_t world_farther(const struct world *w, const struct spoken *of, struct spoken *ret)
{
	struct standing s = world_standing_anywhere(w, of->target);
	struct spoken list[SPOKEN_MAX];
	size_t n, at = 0;

	s.service = of->service;
	s.whole = service_whole(&w->services, of->service);
	n = world_spoken(w, &s, list);
	while (at < n && list[at].changed != of->changed)
		at++;
	for (size_t i = at + 1; i < n; i++)
		ret[i - at - 1] = list[i];
	return at < n ? n - at - 1 : 0;
}

enum admin_state world_admin_state(const struct world *w, const struct standing *s)
{
	struct spoken list[SPOKEN_MAX];
	size_t n = world_spoken(w, s, list);

	for (size_t i = 0; i < n; i++) {
		unsigned state = atomic_load_explicit(list[i].admin_state, memory_order_relaxed);

		if (state != ADMIN_STATE_BY_FILE)
			return (enum admin_state)state;
	}
	return ADMIN_STATE_BY_FILE;
}

enum force world_force(const struct world *w, const struct standing *s)
{
	struct spoken list[SPOKEN_MAX];
	size_t n = world_spoken(w, s, list);
	enum force force = FORCE_NOT_SAID;

	for (size_t i = 0; i < n && force == FORCE_NOT_SAID; i++)
		force = changed_force(list[i].changed);
	return force == FORCE_UP || force == FORCE_DOWN ? force : FORCE_AUTO;
}

static struct agent_view agent_of(const struct world *w, const struct standing *s)
{
	return s->seat < SEATS_MAX ? agent_read(&w->health[s->seat], s->asks) : AGENT_SILENT;
}

/* The nearest that says another one than the file's, unless a nearer one says that it is the file's; NULL: none does. */
static const struct changed *weight_said(const struct world *w, const struct standing *s)
{
	struct spoken list[SPOKEN_MAX];
	size_t n = world_spoken(w, s, list);

	for (size_t i = 0; i < n; i++) {
		enum weight_how how = changed_how(list[i].changed);

		if (how != WEIGHT_NOT_SAID)
			return how == WEIGHT_BY_FILE ? NULL : list[i].changed;
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
	struct spoken list[SPOKEN_MAX];
	size_t n = world_spoken(w, s, list);
	struct agent_view agent;

	for (size_t i = 0; i < n && !changed_keeps_max(list[i].changed); i++)
		if (changed_has_max(list[i].changed))
			return changed_max(list[i].changed, file);
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
