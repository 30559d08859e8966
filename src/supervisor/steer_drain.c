/* steer_drain.c - `drain SERVER within TIME`: connections that are left then are ended. When that is stands in shared memory beside
 * the server, so the next supervisor ends them if this one does not live to see it. */
#include <stdint.h>
#include "base/log.h"
#include "ipc/targets.h"
#include "supervisor/inspect.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

/* 0: it does not end. */
static int64_t ends_ms(const struct target *t)
{
	return atomic_load(&t->admin_state) == ADMIN_STATE_DRAINING ? atomic_load(&t->changed.drained_ms) : 0;
}

/* A connection's text is that of the world, in its server's entry. NULL: it is in none. */
static const struct target *server_of(const struct targets *targets, const char *label)
{
	size_t at = (uintptr_t)label - (uintptr_t)targets->list, i = at / sizeof(*targets->list);

	return label && i < atomic_load(&targets->n) ? &targets->list[i] : NULL;
}

/* It is this one, or a member of this line, of which nothing else was said. */
static bool is_of(const struct targets *targets, const char *label, const struct target *t)
{
	const struct target *server = server_of(targets, label);

	if (!server || server == t)
		return server == t;
	return atomic_load(&server->of) == (uint32_t)(t - targets->list) + 1 &&
	       atomic_load(&server->admin_state) == ADMIN_STATE_BY_FILE;
}

/* Of a line that stands for many: those of its members of which nothing else was said. */
static void end_connections(struct supervisor *s, const struct target *t)
{
	const struct targets *targets = &s->children.workers.world->targets;
	struct snapshot *shot = inspect_take(s, true);
	size_t n = 0;

	for (size_t i = 0; i < shot->n_connections; i++)
		if (is_of(targets, shot->connections[i].server, t))
			shot->connections[n++] = shot->connections[i];
	if (n > 0) {
		log_info("%zu connection%s ended: the time of \"drain %s within\" is over", n, n == 1 ? " is" : "s are",
		         target_label(t));
		steer_kill(s, shot->connections, n, END_KILLED);
	}
	snapshot_free(shot);
}

static void drain_over(void *arg)
{
	struct supervisor *s = arg;
	struct targets *targets = &s->children.workers.world->targets;

	for (uint32_t i = 0; i < atomic_load(&targets->n); i++) {
		struct target *t = &targets->list[i];

		if (ends_ms(t) == 0 || ends_ms(t) > s->loop.now_ms)
			continue;
		end_connections(s, t);
		atomic_store(&t->changed.drained_ms, 0);
	}
	steer_state_look(s);
	steer_drain_plan(s);
}

void steer_drain_plan(struct supervisor *s)
{
	const struct targets *targets = &s->children.workers.world->targets;
	int64_t next_ms = 0;

	for (uint32_t i = 0; i < atomic_load(&targets->n); i++) {
		int64_t at_ms = ends_ms(&targets->list[i]);

		if (at_ms && (!next_ms || at_ms < next_ms))
			next_ms = at_ms;
	}
	if (next_ms)
		timer_set(&s->loop, &s->drain_timer, next_ms, drain_over, s);
	else
		timer_clear(&s->loop, &s->drain_timer);
}
