/*
 * batch.c - when many connections have something at once, small messages are moved together.
 *
 * A turn's events are looked through before they are handled one by one. Connections that are among many with nothing
 * but a small message are dealt with here, and their events are handled; all others, and those that turn out to have
 * more to say, come to session_event() as ever.
 */
#include "proxy/batch.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "proxy/ejecting.h"
#include "proxy/engine.h"
#include "proxy/flow_batch.h"
#include "proxy/session.h"

/* Fewer in one call are not cheaper than calls of their own. */
#define BATCH_LEAST 16

struct batch {
	struct engine *engine;
	struct uring *uring;
	int least;
	unsigned n;
	struct flow_batch_item items[BATCH_SLOTS];
	struct epoll_event *events[BATCH_SLOTS];
};

static struct session *session_of(struct engine *e, uint64_t token, enum side *side)
{
	struct row_name name = row_named(token);
	struct session *s;

	if (loop_kind(token) != LOOP_KIND_ROW || name.index >= e->env.trio->rows_used)
		return NULL;
	s = &e->sessions[name.index];
	*side = name.side;
	if (!s->row || s->stepping || s->row->state != ROW_RELAY || (s->row->serial & 0xffffff) != name.serial)
		return NULL;
	return s;
}

static bool add(struct batch *b, struct epoll_event *event)
{
	enum side side;
	struct session *s = session_of(b->engine, event->data.u64, &side);

	/* its other direction has to wait until the slot is closed */
	if (!s || s->batched || !relay_batchable(&s->relay, side, event->events, &b->items[b->n]))
		return false;
	s->batched = true;
	b->events[b->n++] = event;
	return true;
}

static void apply(struct batch *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct session *s = &b->engine->sessions[b->items[i].row];

		if (relay_batched(&s->relay, &b->items[i])) {
			b->events[i]->events = 0;
			session_moved(s);
		}
	}
}

static void give_up(struct batch *b)
{
	log_warning("io_uring does not work any more: each message takes system calls of its own from now on");
	uring_free(b->uring);
	b->uring = NULL;
}

static void run(struct batch *b)
{
	if ((int)b->n >= b->least) {
		if (!flow_batch(b->engine->env.trio, b->uring, &b->engine->env.pool, b->items, b->n))
			give_up(b);
		apply(b);
	}
	for (unsigned i = 0; i < b->n; i++)
		b->engine->sessions[b->items[i].row].batched = false;
	b->n = 0;
}

void batch_events(struct batch *b, struct epoll_event *events, int n)
{
	struct engine *e = b->engine;

	if (n < b->least || !b->uring || !pipepool_spare(&e->env.pool, &e->env.trio->step))
		return;
	for (int i = 0; i < n && b->uring; i++)
		if (add(b, &events[i]) && b->n == BATCH_SLOTS)
			run(b);
	if (b->uring)
		run(b);
}

#ifdef FAULTS
/* For the tests: as often as it can be. */
static int least(void)
{
	const char *way = getenv("TCPPROXY_FLOW");

	return way && strcmp(way, "batch") == 0 ? 1 : BATCH_LEAST;
}
#else
static int least(void)
{
	return BATCH_LEAST;
}
#endif

struct batch *batch_new(struct engine *e, struct uring *uring)
{
	struct batch *b = mem_alloc(sizeof(*b));

	b->engine = e;
	b->uring = uring;
	b->least = least();
	return b;
}

void batch_forget(struct batch *b)
{
	if (b)
		uring_forget(b->uring);
	free(b);
}
