#include "proxy/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/sock.h"
#include "proxy/session.h"

#define SIDE_BITS  2
#define INDEX_BITS 30

static struct session *session_of(struct engine *e, uint32_t i)
{
	return &e->sessions[i];
}

uint32_t engine_live(const struct engine *e)
{
	return e->env.trio->n_rows - e->n_free;
}

/* ---- events ---- */

static void row_event(void *arg, uint64_t number, uint32_t events)
{
	struct engine *e = arg;
	enum side side = (enum side)(number & 3);
	uint32_t i = (uint32_t)(number >> SIDE_BITS) & ((1u << INDEX_BITS) - 1);
	uint32_t serial = (uint32_t)(number >> 32);
	struct row *row;

	if (i >= e->env.trio->n_rows)
		return;
	row = trio_row(e->env.trio, i);
	if (row->state == ROW_FREE || (row->serial & 0xffffff) != serial)
		return; /* of a connection that has ended meanwhile */
	e->env.trio->working_on = (int32_t)i;
	session_event(session_of(e, i), side, events);
	e->env.trio->working_on = -1;
}

void engine_again(struct engine *e, uint32_t row)
{
	struct session *s = session_of(e, row);

	if (s->queued)
		return;
	s->queued = true;
	e->ready[e->n_ready++] = row;
}

static void run_ready(void *arg)
{
	struct engine *e = arg;
	uint32_t n = e->n_ready;
	uint32_t *list = e->ready;

	if (n == 0)
		return;
	/* who asks again while we go through the list comes onto the other one */
	e->ready = e->ready_now;
	e->ready_now = list;
	e->n_ready = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct session *s = session_of(e, list[i]);

		s->queued = false;
		if (s->row && s->row->state != ROW_FREE) {
			e->env.trio->working_on = (int32_t)list[i];
			session_run(s);
			e->env.trio->working_on = -1;
		}
	}
	e->loop.busy = e->n_ready > 0;
}

/* ---- rows ---- */

static bool take_row(struct engine *e, uint32_t *ret)
{
	struct row *row;

	if (e->n_free == 0)
		return false;
	*ret = e->free_rows[--e->n_free];
	row = trio_row(e->env.trio, *ret);
	memset(trio_cold(e->env.trio, *ret), 0, sizeof(struct row_cold));
	memset(row, 0, sizeof(*row));
	row->serial = ++e->serial;
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
	bool was_full = e->n_free == 0;

	e->free_rows[e->n_free++] = row;
	atomic_store_explicit(&e->env.trio->live, engine_live(e), memory_order_relaxed);
	atomic_store_explicit(&e->world->live[e->limits.own], engine_live(e), memory_order_relaxed);
	if (was_full || e->paused || atomic_load(&e->world->disarmed[e->limits.own]))
		engine_balance(e);
	if (e->idle && engine_live(e) == 0)
		e->idle(e->idle_arg);
}

bool engine_serve(struct engine *e, int fd, const struct addr *local, const struct addr *client,
		  const struct section *section)
{
	struct session *s;
	struct row *row;
	uint32_t i;

	if (!section)
		section = ruleset_find(e->rules, local);
	if (!section || !take_row(e, &i)) {
		sock_reset_on_close(fd);
		close(fd);
		return false;
	}
	row = trio_row(e->env.trio, i);
	s = session_of(e, i);
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
	row->cookie[CLIENT] = sock_cookie(fd);
	if (client->family != AF_INET && client->family != AF_INET6)
		row->flags |= ROWFLAG_CLIENT_UNIX;
	row->active_ms = e->loop.now_ms;
	row->fd[CLIENT] = fd;
	barrier();
	row->state = ROW_ACCEPTED;
	loop_add(&e->loop, fd, ROW_EVENTS, row_token(e->env.trio, row, CLIENT));
	session_start(s, section);
	return true;
}

typedef void session_fn(struct session *s);

static void for_each(struct engine *e, session_fn *fn)
{
	for (uint32_t i = 0; i < e->env.trio->n_rows && engine_live(e) > 0; i++)
		if (trio_row(e->env.trio, i)->state != ROW_FREE)
			fn(session_of(e, i));
}

void engine_end_all(struct engine *e, enum end end)
{
	for (uint32_t i = 0; i < e->env.trio->n_rows && engine_live(e) > 0; i++)
		if (trio_row(e->env.trio, i)->state != ROW_FREE)
			session_end(session_of(e, i), end, BY_RESET);
}

/* ---- rules and names ---- */

void engine_set_rules(struct engine *e, struct ruleset *rules)
{
	struct ruleset *old = e->rules;

	e->rules = rules;
	if (old)
		for_each(e, session_rules_changed);
	ruleset_free(old);
}

void engine_targets_changed(struct engine *e)
{
	if (e->n_resolving > 0)
		for_each(e, session_targets_changed);
}

/* ---- the channel to the spawner ---- */

static void take_answer(struct engine *e, const struct answer *a, int fd)
{
	struct row *row = a->row < e->env.trio->n_rows ? trio_row(e->env.trio, a->row) : NULL;

	if (!row || row->state == ROW_FREE || a->serial == 0 ||
	    trio_cold(e->env.trio, a->row)->question != a->serial) {
		if (fd >= 0)
			close(fd);
		return;
	}
	session_answer(session_of(e, a->row), a->kind, fd);
}

static void channel_event(void *arg, uint32_t events)
{
	struct engine *e = arg;

	for (int n = 0; n < 64; n++) {
		struct answer a;
		int fd = -1;
		size_t n_fds = 1;
		int len = sock_recv_message(e->channel.fd, &a, sizeof(a), &fd, &n_fds);

		if (len == sizeof(a)) {
			take_answer(e, &a, n_fds == 1 ? fd : -1);
			continue;
		}
		if (len == -EAGAIN || len == -EINTR)
			return;
		if (len <= 0) { /* the spawner is dead; the supervisor will send another channel */
			engine_set_channel(e, -1);
			return;
		}
	}
}

void engine_set_channel(struct engine *e, int fd)
{
	int old = e->channel.fd;

	watch_remove(&e->loop, &e->channel);
	e->env.trio->spawner_fd = fd;
	if (old >= 0)
		close(old);
	e->channel.fd = -1;
	if (fd >= 0)
		watch_add(&e->loop, &e->channel, fd, EPOLLIN, channel_event, e);
	else
		for_each(e, session_spawner_lost);
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
	e->channel.fd = -1;
	e->rearm_watch.fd = -1;
	e->env = (struct step_env){.loop = &e->loop,
				   .trio = setup->trio,
				   .targets = &setup->world->targets,
				   .scratch = mem_alloc(SCRATCH_SIZE),
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
	for (uint32_t i = 0; i < n; i++)
		e->free_rows[i] = n - 1 - i; /* the first row on top */
	e->n_free = n;
	e->serial = (uint32_t)clock_mono_ms(); /* not those of a predecessor */
	loop_handle(&e->loop, LOOP_KIND_ROW, row_event, e);
	return 0;
}
