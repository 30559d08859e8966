/* steer_drain.c - `drain SERVER within TIME`: connections that are left then are ended. When that is stands in shared memory beside
 * the server, so the next supervisor ends them if this one does not live to see it. */
#include <stdint.h>
#include "base/log.h"
#include "ipc/changes.h"
#include "supervisor/inspect.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

/* 0: it does not end. */
static int64_t ends_ms(const struct words *words)
{
	return atomic_load(words->admin_state) == ADMIN_STATE_DRAINING ? atomic_load(&words->changed->drained_ms) : 0;
}

/* ---- connections: their texts are those of the world, in the entries of server and service ---- */

static uint32_t server_of(const struct targets *targets, const char *label)
{
	size_t at = (uintptr_t)label - (uintptr_t)targets->list, i = at / sizeof(*targets->list);

	return label && i < atomic_load(&targets->n) ? (uint32_t)i : TARGET_NONE;
}

static uint32_t service_of(const struct services *services, const char *label)
{
	size_t at = (uintptr_t)label - (uintptr_t)services->list, i = at / sizeof(*services->list);

	return label && i < atomic_load(&services->n) ? (uint32_t)i : COUNTED_SERVICES;
}

/* It is this that says whether clients may come to its server. */
static bool is_of(const struct world *w, const struct connection_view *c, const struct words *words)
{
	struct standing s = world_standing_anywhere(w, server_of(&w->targets, c->server));
	struct spoken list[SPOKEN_MAX];
	size_t n, i = 0;

	s.service = service_of(&w->services, c->service);
	s.whole = service_whole(&w->services, s.service);
	n = world_spoken(w, &s, list);
	while (i < n && atomic_load(list[i].admin_state) == ADMIN_STATE_BY_FILE)
		i++;
	return i < n && list[i].changed == words->changed;
}

static void end_connections(struct supervisor *s, const struct words *words)
{
	const struct world *w = s->children.workers.world;
	struct snapshot *shot = inspect_take(s, true);
	struct buf word = BUF_INIT;
	size_t n = 0;

	for (size_t i = 0; i < shot->n_connections; i++)
		if (is_of(w, &shot->connections[i], words))
			shot->connections[n++] = shot->connections[i];
	if (n > 0) {
		changes_word(w, &words->of, &word);
		log_info("%zu connection%s ended: the time of \"drain %s within\" is over", n, n == 1 ? " is" : "s are",
		         word.s);
		steer_kill(s, shot->connections, n, END_KILLED);
	}
	buf_release(&word);
	snapshot_free(shot);
}

/* ---- when ---- */

static void for_each_drain(struct supervisor *s,
                           void (*each)(struct supervisor *s, const struct words *words, int64_t *ms), int64_t *ms)
{
	struct world *w = s->children.workers.world;

	for (uint32_t i = 0; i < atomic_load(&w->targets.n); i++) {
		const struct words words = words_of_target(w, i);

		if (ends_ms(&words))
			each(s, &words, ms);
	}
	for (uint32_t i = 0; i < SPOTS_MAX && atomic_load(&w->spots.n) > 0; i++) {
		const struct words words = words_of_spot(&w->spots.list[i]);

		if (spot_speaks(&w->spots.list[i]) && ends_ms(&words))
			each(s, &words, ms);
	}
}

static void end_if_due(struct supervisor *s, const struct words *words, int64_t *now_ms)
{
	if (ends_ms(words) > *now_ms)
		return;
	end_connections(s, words);
	atomic_store(&words->changed->drained_ms, 0);
}

static void drain_over(void *arg)
{
	struct supervisor *s = arg;
	int64_t now_ms = s->loop.now_ms;

	for_each_drain(s, end_if_due, &now_ms);
	steer_state_look(s);
	steer_drain_plan(s);
}

static void look_for_next(struct supervisor *s, const struct words *words, int64_t *next_ms)
{
	int64_t at_ms = ends_ms(words);

	if (!*next_ms || at_ms < *next_ms)
		*next_ms = at_ms;
}

void steer_drain_plan(struct supervisor *s)
{
	int64_t next_ms = 0;

	for_each_drain(s, look_for_next, &next_ms);
	if (next_ms)
		timer_set(&s->loop, &s->drain_timer, next_ms, drain_over, s);
	else
		timer_clear(&s->loop, &s->drain_timer);
}
