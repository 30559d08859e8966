#include "proxy/engine.h"

#include <errno.h>
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

#define ADOPT_AT_ONCE 64 /* rows in one turn: the others are served meanwhile */

static void adopt_some(struct engine *e);

static bool in_use(struct engine *e, uint32_t i)
{
	return trio_row(e->env.trio, i)->state != ROW_FREE;
}

/* Between two workers: its session begins when it is settled whose it is. */
static bool on_the_move(struct engine *e, uint32_t i)
{
	uint8_t state = trio_row(e->env.trio, i)->state;

	return state == ROW_GIVING || state == ROW_TAKING;
}

/* The session of a row in use; one of a predecessor's is taken up first. NULL: it ended at that, or is on the
 * move. */
struct session *engine_session(struct engine *e, uint32_t i)
{
	if (on_the_move(e, i))
		return NULL;
	if (!e->sessions[i].row)
		engine_take_up(e, i);
	return in_use(e, i) ? &e->sessions[i] : NULL;
}

uint32_t engine_free_rows(const struct engine *e)
{
	return e->n_stacked + e->env.trio->n_rows - e->env.trio->rows_used;
}

uint32_t engine_live(const struct engine *e)
{
	return e->env.trio->rows_used - e->n_stacked;
}

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

void engine_again(struct engine *e, uint32_t row)
{
	struct session *s = &e->sessions[row];

	if (s->queued)
		return;
	s->queued = true;
	e->ready[e->n_ready++] = row;
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
	adopt_some(e);
	n = e->n_ready;
	e->loop.busy = e->adopted < e->env.trio->rows_used;
	if (n == 0)
		return;
	/* who asks again while we go through the list comes onto the other one */
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
	e->loop.busy = e->n_ready > 0 || e->adopted < e->env.trio->rows_used;
}

/* ---- rows ---- */

bool engine_take_row(struct engine *e, uint32_t *ret)
{
	struct trio *t = e->env.trio;
	struct row *row;

	if (e->n_stacked > 0) {
		*ret = e->free_rows[--e->n_stacked];
	} else if (t->rows_used < t->n_rows) {
		bool all_adopted = e->adopted == t->rows_used;

		*ret = t->rows_used++;
		if (all_adopted)
			e->adopted = t->rows_used;
	} else {
		return false;
	}
	row = trio_row(e->env.trio, *ret);
	memset(trio_cold(e->env.trio, *ret), 0, sizeof(struct row_cold));
	memset(row, 0, sizeof(*row));
	row->serial = ++e->serial;
	row->service = row->server = UINT16_MAX;
	for (int i = 0; i < 3; i++)
		row->fd[i] = -1;
	for (int i = 0; i < 2; i++)
		row->flow[i].pipe_read = row->flow[i].pipe_write = -1;
	atomic_store_explicit(&e->env.trio->live, engine_live(e), memory_order_relaxed);
	atomic_store_explicit(&e->world->live[e->limits.own], engine_live(e), memory_order_relaxed);
	return true;
}

void engine_row_freed(struct engine *e, uint32_t row)
{
	bool was_full = engine_free_rows(e) == 0;

	e->free_rows[e->n_stacked++] = row;
	atomic_store_explicit(&e->env.trio->live, engine_live(e), memory_order_relaxed);
	atomic_store_explicit(&e->world->live[e->limits.own], engine_live(e), memory_order_relaxed);
	if (was_full || e->paused || atomic_load(&e->world->disarmed[e->limits.own]))
		engine_balance(e);
	if (e->idle && engine_live(e) == 0)
		e->idle(e->idle_arg);
}

static void say_accepted(const struct row_cold *cold)
{
	char client[ADDR_TEXT_MAX], local[ADDR_TEXT_MAX];

	log_debug("accepted %s at %s", addr_format_port(&cold->client, client),
		  addr_format_port(&cold->local, local));
}

bool engine_serve(struct engine *e, int fd, const struct addr *local, const struct addr *client,
		  const struct section *section)
{
	struct session *s;
	struct row *row;
	uint32_t i;

	if (!section)
		section = ruleset_find(e->rules, local);
	if (!section || !engine_take_row(e, &i)) {
		sock_reset_on_close(fd);
		close(fd);
		return false;
	}
	row = trio_row(e->env.trio, i);
	s = &e->sessions[i];
	*s = (struct session){.engine = e,
			      .row = row,
			      .cold = trio_cold(e->env.trio, i),
			      .index = i,
			      .queued = s->queued};
	s->cold->id = atomic_fetch_add_explicit(&e->world->next_id, 1, memory_order_relaxed);
	s->cold->accepted_wall_us = clock_wall_us();
	s->cold->accepted_us = clock_mono_us();
	s->cold->client = *client;
	s->cold->local = *local;
	if (client->family != AF_INET && client->family != AF_INET6)
		row->flags |= ROWFLAG_CLIENT_UNIX;
	row->active_ms = e->loop.now_ms;
	FAULT_POINT();
	row->fd[CLIENT] = fd;
	barrier();
	FAULT_POINT();
	row->state = ROW_ACCEPTED;
	FAULT_POINT();
	loop_add(&e->loop, fd, ROW_EVENTS, row_token(e->env.trio, row, CLIENT));
	if (log_wants(LOG_LEVEL_DEBUG))
		say_accepted(s->cold);
	session_start(s, section);
	return true;
}

void engine_for_each(struct engine *e, void (*fn)(struct session *s))
{
	for (uint32_t i = 0; i < e->env.trio->rows_used && engine_live(e) > 0; i++) {
		struct session *s = in_use(e, i) ? engine_session(e, i) : NULL;

		if (s)
			fn(s);
	}
}

void engine_end_all(struct engine *e, enum end end)
{
	moving_stop(e);
	for (uint32_t i = 0; i < e->env.trio->rows_used && engine_live(e) > 0; i++) {
		struct session *s = in_use(e, i) ? engine_session(e, i) : NULL;

		if (s)
			session_end(s, end, BY_RESET);
	}
}

void engine_end_one(struct engine *e, uint32_t row, uint32_t serial, enum end end)
{
	struct session *s = NULL;

	if (row >= e->env.trio->rows_used || trio_row(e->env.trio, row)->serial != serial)
		return;
	if (in_use(e, row))
		s = engine_session(e, row);
	if (s)
		session_end(s, end, BY_RESET);
}

/* ---- taking over from a dead worker ---- */

void engine_take_up(struct engine *e, uint32_t i)
{
	struct session *s = &e->sessions[i];

	*s = (struct session){.engine = e,
			      .row = trio_row(e->env.trio, i),
			      .cold = trio_cold(e->env.trio, i),
			      .index = i,
			      .queued = s->queued};
	session_adopt(s);
}

static void count_limits(struct engine *e, struct row_cold *cold)
{
	for (int k = 0; k < LIMIT_KINDS; k++)
		if (cold->limit[k])
			limits_take(&e->limits, cold->limit[k], 0);
}

/* Which rows are free, which are not, and what they count for. */
static void survey(struct engine *e)
{
	struct trio *t = e->env.trio;

	limits_clear(&e->limits);
	e->n_stacked = 0;
	for (uint32_t i = t->rows_used; i-- > 0;) {
		if (!in_use(e, i))
			e->free_rows[e->n_stacked++] = i;
		else if (!moving_is_elsewhere(e, i))
			count_limits(e, trio_cold(t, i));
	}
	atomic_store(&t->live, engine_live(e));
	atomic_store(&e->world->live[e->limits.own], engine_live(e));
}

/* Before anything else is said or done: their numbers of descriptors may be used again otherwise, and
 * whether their records stand in the ring could no longer be told. */
static void finish_endings(struct engine *e)
{
	for (uint32_t i = 0; i < e->env.trio->rows_used; i++) {
		uint8_t state = trio_row(e->env.trio, i)->state;

		if (state == ROW_ENDING || state == ROW_ABORTING)
			engine_take_up(e, i);
	}
}

/* A worker that dies of a fault while it handles a row, and the next one again: it is the row. */
static void look_for_poison(struct engine *e)
{
	struct trio *t = e->env.trio;
	int32_t i = t->working_on;
	struct row_cold *cold;
	char client[ADDR_TEXT_MAX];

	t->working_on = -1;
	if (!atomic_exchange(&t->fault, 0) || i < 0 || (uint32_t)i >= t->n_rows ||
	    !in_use(e, (uint32_t)i) || on_the_move(e, (uint32_t)i))
		return;
	cold = trio_cold(t, (uint32_t)i);
	if (++cold->faults < 2)
		return;
	log_error("the connection of %s is ended: two workers in a row have died of handling it",
		  addr_format_port(&cold->client, client));
	trio_row(t, (uint32_t)i)->end = END_POISONED;
	trio_row(t, (uint32_t)i)->state = ROW_ABORTING;
	engine_take_up(e, (uint32_t)i);
}

/* Before any pipe is closed. */
static void settle_step(struct engine *e)
{
	struct copy_step *step = &e->env.trio->step;

	if (step->row >= 0)
		flow_settle_pipe(step, &trio_row(e->env.trio, (uint32_t)step->row)->flow[step->side]);
}

/* Bytes of this connection may be in the scratch: they come before everything else that uses it. */
static void finish_step(struct engine *e)
{
	struct copy_step *step = &e->env.trio->step;
	int32_t i = step->row;

	if (i < 0)
		return;
	if (in_use(e, (uint32_t)i) && !e->sessions[i].row) {
		e->env.trio->working_on = i;
		engine_take_up(e, (uint32_t)i);
		e->env.trio->working_on = -1;
	}
	if (step->row < 0)
		return;
	/* it has ended */
	pipepool_discard(&step->pipe_read, &step->pipe_write);
	barrier();
	step->row = -1;
}

/* Each may need a pipe: not before it is known which numbers are nobody's. */
static void finish_batch(struct engine *e)
{
	for (unsigned i = 0; i < BATCH_SLOTS; i++)
		if (flow_batch_hand_over(e->env.trio, i))
			finish_step(e);
}

static void adopt_client(void *arg, int fd)
{
	struct engine *e = arg;
	struct addr local, client;

	if (sock_local(fd, &local) < 0 || sock_peer(fd, &client) < 0 || !e->rules)
		close(fd);
	else
		engine_serve(e, fd, &local, &client, NULL);
}

static void adopt_some(struct engine *e)
{
	for (int done = 0; e->adopted < e->env.trio->rows_used && done < ADOPT_AT_ONCE; e->adopted++) {
		uint32_t i = e->adopted;

		if (e->sessions[i].row || !in_use(e, i) || on_the_move(e, i))
			continue;
		e->env.trio->working_on = (int32_t)i;
		engine_take_up(e, i);
		e->env.trio->working_on = -1;
		done++;
	}
}

void engine_take_over(struct engine *e)
{
	atomic_uint *receiving = &trio_moves(e->env.trio)->receiving;

	survey(e);
	FAULT_POINT();
	settle_step(e);
	finish_endings(e);
	moving_recover(e);
	look_for_poison(e);
	FAULT_POINT();
	finish_step(e);
	FAULT_POINT();
	recover_descriptors(e->env.trio, atomic_load(receiving) ? NULL : adopt_client, e);
	finish_batch(e);
	atomic_store(receiving, 0);
	moving_continue(e);
	tapping_recover(e);
	e->adopted = 0;
	loop_replay(&e->loop); /* who had events first */
	e->loop.busy = true;
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
	e->limits = (struct limits){.trios = setup->trios,
				    .n_trios = setup->n_trios,
				    .own = setup->trio->number};
	e->channel.fd = e->old_channel.fd = -1;
	e->rearm_watch.fd = -1;
	e->env = (struct step_env){.loop = &e->loop,
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
	free(e->loop.heap);
	ruleset_free(e->rules);
	memset(e, 0, sizeof(*e));
}
