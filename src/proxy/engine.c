#include "proxy/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/sock.h"
#include "proxy/batch.h"
#include "proxy/flow_batch.h"
#include "proxy/session.h"
#include "takeover/recover.h"

/* ---- events ---- */

static void row_event(void *arg, uint64_t number, uint32_t events)
{
	struct engine *e = arg;
	struct row_name name = row_named(number);
	struct session *s;
	struct row *row;

	if (name.index >= e->env.trio->n_rows)
		return;
	row = trio_row(e->env.trio, name.index);
	if (row->state == ROW_FREE || (row->serial & 0xffffff) != name.serial)
		return; /* of a connection that has ended meanwhile */
	e->env.trio->working_on = (int32_t)name.index;
	s = engine_session(e, name.index);
	if (s)
		session_event(s, name.side, events);
	e->env.trio->working_on = -1;
}

static void before_events(void *arg, struct epoll_event *events, int n)
{
	struct engine *e = arg;

	batch_events(e->batch, events, n);
}

void engine_batches(struct engine *e, struct uring *uring)
{
	e->batch = batch_new(e, uring);
	e->loop.before = before_events;
	e->loop.before_arg = e;
}

static void run_ready(void *arg)
{
	struct engine *e = arg;
	uint32_t *list = e->ready;
	uint32_t n;

	engine_look_at_load(e);
	engine_adopt_some(e);
	waiting_look(&e->waiting);
	n = e->n_ready;
	e->loop.busy = e->adopted < e->env.trio->rows_used || e->waiting.wanted || e->waiting.news;
	if (n == 0)
		return;
	/* a row that asks again while we go through the list comes onto the other one */
	e->ready = e->ready_now;
	e->ready_now = list;
	e->n_ready = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct session *s = &e->sessions[list[i]];

		s->queued = false;
		if (s->row && s->row->state != ROW_FREE) {
			e->env.trio->working_on = (int32_t)list[i];
			session_run(s);
			e->env.trio->working_on = -1;
		}
	}
	e->loop.busy = e->n_ready > 0 || e->adopted < e->env.trio->rows_used || e->waiting.wanted || e->waiting.news;
}

/* ---- rows ---- */

void engine_end_all(struct engine *e, enum end end)
{
	moving_stop(e);
	for (uint32_t i = 0; i < e->env.trio->rows_used && engine_live(e) > 0; i++) {
		struct session *s = engine_row_in_use(e, i) ? engine_session(e, i) : NULL;

		if (s)
			session_end(s, end, BY_RESET);
	}
}

void engine_end_one(struct engine *e, uint32_t row, uint32_t serial, enum end end)
{
	struct session *s = NULL;

	if (row >= e->env.trio->rows_used || trio_row(e->env.trio, row)->serial != serial)
		return;
	if (engine_row_in_use(e, row))
		s = engine_session(e, row);
	if (s)
		session_end(s, end, BY_RESET);
}

/* ---- what spins ---- */

static struct session *session_of(struct engine *e, uint64_t token, enum side *side)
{
	struct row_name name = row_named(token & ((1ULL << 56) - 1));

	*side = name.side;
	if (loop_kind(token) != LOOP_KIND_ROW || name.index >= e->env.trio->rows_used ||
	    !engine_row_in_use(e, name.index) ||
	    (trio_row(e->env.trio, name.index)->serial & 0xffffff) != name.serial || name.side > SECOND)
		return NULL;
	return engine_session(e, name.index);
}

int engine_watched(struct engine *e, uint64_t token)
{
	uint64_t number = token & ((1ULL << 56) - 1);
	enum side side;
	struct session *s = session_of(e, token, &side);

	if (s)
		return s->row->fd[side];
	return loop_kind(token) == LOOP_KIND_LISTENER && number < e->n_listeners ? e->listeners[number].fd : -1;
}

void engine_end_spin(struct engine *e, uint64_t token, uint32_t events)
{
	enum side side;
	struct session *s = session_of(e, token, &side);
	int fd = engine_watched(e, token);

	if (s) {
		char *what = mem_printf("a connection's socket, id=%llu", (unsigned long long)s->cold->id);

		spin_tell(what, fd, events, "the connection is ended");
		free(what);
		session_end(s, END_LOST, BY_RESET);
	} else {
		spin_tell("a listening socket", fd, events, "this worker does not accept there any more");
	}
}

/* ---- rules and names ---- */

void engine_set_rules(struct engine *e, struct ruleset *rules)
{
	struct ruleset *old = e->rules;

	e->rules = rules;
	if (old)
		engine_for_each(e, session_rules_changed);
	ruleset_free(old);
}

void engine_targets_changed(struct engine *e)
{
	if (e->n_resolving > 0)
		engine_for_each(e, session_targets_changed);
}

/* ---- birth ---- */

int engine_init(struct engine *e, const struct engine_setup *setup, int epfd)
{
	uint32_t n = setup->trio->n_rows;
	int rc;

	memset(e, 0, sizeof(*e));
	e->setup = *setup;
	rc = loop_init(&e->loop, epfd, setup->events, setup->n_events);
	if (rc < 0)
		return rc;
	e->loop.after = run_ready;
	e->loop.after_arg = e;
	e->world = setup->world;
	e->limits = (struct limits){.trios = setup->trios, .n_trios = setup->n_trios, .own = setup->trio->number};
	waiting_room_init(&e->waiting, &e->loop, setup->trios, setup->n_trios, setup->trio->number, setup->rearm_fds);
	early_room_init(&e->early, n);
	doubt_init(&e->doubt, &e->loop);
	e->preambles.early = &e->early;
	e->channel.fd = e->old_channel.fd = -1;
	e->rearm_watch.fd = -1;
	e->env = (struct step_env){.loop = &e->loop,
	                           .own = &e->own,
	                           .seldom = setup->world->seldom,
	                           .trio = setup->trio,
	                           .targets = &setup->world->targets,
	                           .scratch = trio_scratch(setup->trio),
	                           .inherited = setup->inherited};
	/* touched only as far as rows are used */
	e->sessions = mmap(NULL, n * sizeof(struct session), PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (e->sessions == MAP_FAILED)
		return -ENOMEM;
	e->free_rows = mem_alloc(n * sizeof(uint32_t));
	e->ready = mem_alloc(n * sizeof(uint32_t));
	e->ready_now = mem_alloc(n * sizeof(uint32_t));
	e->listeners = mem_alloc(TRIO_LISTENERS * sizeof(struct listener));
	e->adopted = setup->trio->rows_used;
	e->serial = (uint32_t)clock_mono_ms(); /* not those of a predecessor */
	loop_handle(&e->loop, LOOP_KIND_ROW, row_event, e);
	return 0;
}

void engine_forget(struct engine *e)
{
	if (!e->sessions)
		return;
	munmap(e->sessions, e->env.trio->n_rows * sizeof(struct session));
	free(e->free_rows);
	free(e->ready);
	free(e->ready_now);
	free(e->listeners);
	batch_forget(e->batch);
	waiting_room_forget(&e->waiting);
	stick_unmap(&e->stick);
	free(e->loop.heap);
	ruleset_free(e->rules);
	memset(e, 0, sizeof(*e));
}
