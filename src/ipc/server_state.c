#include "ipc/server_state.h"

#include "base/clock.h"

const char *server_state_name(enum server_state state)
{
	static const char *const names[SERVER_STATES] = {
	        [STATE_UNTRIED] = "untried", [STATE_UNKNOWN] = "unknown", [STATE_UP] = "up",
	        [STATE_DOWN] = "down",       [STATE_FAILED] = "failed",   [STATE_UNRESOLVED] = "unresolved",
	        [STATE_EJECTED] = "ejected",
	};

	return state < SERVER_STATES && names[state] ? names[state] : names[STATE_UNKNOWN];
}

/* What clients have found. */
static enum server_state state_by_clients(const struct world *w, uint32_t target)
{
	switch (target_health(&w->experience[target]).finding) {
	case WORKS:
		return STATE_UP;
	case FAILS:
		return STATE_FAILED;
	default:
		return STATE_UNTRIED;
	}
}

/* A check stands above what clients have found, but for a failure that came since; tcpproxyctl stands above both. */
enum server_state server_state(const struct world *w, const struct standing *s, enum health_state health)
{
	const struct target *t;
	enum server_state by_clients;
	enum force force = world_force(w, s);

	if (s->target >= TARGETS_MAX)
		return STATE_UNTRIED;
	t = &w->targets.list[s->target];
	if (force != FORCE_AUTO)
		return force == FORCE_UP ? STATE_UP : STATE_DOWN;
	if (atomic_load(&t->state) == TARGET_UNRESOLVED)
		return STATE_UNRESOLVED;
	if (s->seat < SEATS_MAX && health == HEALTH_DOWN)
		return STATE_DOWN;
	if (s->ejects && ejection_is_on(&w->ejections[s->target], clock_mono_ms()))
		return STATE_EJECTED;
	by_clients = state_by_clients(w, s->target);
	if (s->seat >= SEATS_MAX)
		return by_clients;
	if (by_clients == STATE_FAILED)
		return STATE_FAILED;
	return health == HEALTH_UP ? STATE_UP : STATE_UNKNOWN;
}

enum server_state server_state_now(const struct world *w, const struct standing *s)
{
	return server_state(w, s,
	                    s->seat < SEATS_MAX ? health_read(&w->health[s->seat], s->asks).state : HEALTH_UNKNOWN);
}
