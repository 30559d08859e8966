#include "children/balance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "children/workers.h"

#define BALANCE_PAUSE_MS    1000  /* what is still changing then was not worth it */
#define BALANCE_PATIENCE_MS 10000 /* a worker that is not through by then has died of something else */
#define LEAST               8     /* connections that are not worth it */
#define LEAST_LOAD          30    /* likewise, percent of a processor */

static uint32_t live(const struct workers *ws, uint32_t i)
{
	return atomic_load(&ws->world->live[i]);
}

static bool serves(const struct workers *ws, uint32_t i)
{
	return ws->list[i].child.control.fd >= 0 && ws->list[i].adopted && outbox_is_empty(&ws->list[i].child.outbox);
}

static void balance_over(void *arg)
{
	struct balance *b = arg;

	b->under_way = false;
}

/* Both get one end of a link, and the memory of the other. */
static int balance_link_up(struct workers *ws, uint32_t from, uint32_t to, uint32_t n, enum link_which which)
{
	struct wire give = {.type = WIRE_GIVE, .n = 2, .give = {n, which}};
	struct wire take = {.type = WIRE_TAKE, .n = 2};
	int pair[2], rc = sock_message_pair(pair);

	if (rc < 0)
		return rc;
	worker_send_link(&ws->list[from], &give, pair[0], ws->list[to].memfd);
	worker_send_link(&ws->list[to], &take, pair[1], ws->list[from].memfd);
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static void move(struct balance *b, uint32_t from, uint32_t to, uint32_t n, enum link_which which)
{
	struct workers *ws = b->workers;
	int rc = balance_link_up(ws, from, to, n, which);

	if (rc < 0) {
		log_error("moving connections from worker %u to worker %u: %s", from, to, strerror(-rc));
		return;
	}
	b->under_way = true;
	b->from = from;
	timer_set(ws->loop, &b->timer, ws->loop->now_ms + BALANCE_PATIENCE_MS, balance_over, b);
}

/* What this worker has too much of, or not. */
static uint32_t burden(const struct balance *b, uint32_t i)
{
	const struct workers *ws = b->workers;

	return b->busy ? world_load(ws->world, i, ws->loop->now_ms) : live(ws, i);
}

static void even_out(void *arg)
{
	struct balance *b = arg;
	struct workers *ws = b->workers;
	uint32_t from = 0, to = 0;

	for (uint32_t i = 1; i < ws->n; i++) {
		if (burden(b, i) > burden(b, from))
			from = i;
		if (burden(b, i) < burden(b, to))
			to = i;
	}
	if (!serves(ws, from) || !serves(ws, to) || ws->rolling ||
	    burden(b, from) <= burden(b, to) + (b->busy ? LEAST_LOAD : LEAST))
		return;
	if (b->busy)
		move(b, from, to, UINT32_MAX, LINK_BUSY);
	else
		move(b, from, to, (live(ws, from) - live(ws, to)) / 2, LINK_SETTLED);
}

#ifdef FAULTS
/* To order, for tests: every so many milliseconds some connections move, from anyone to anyone. */
static void move_some(void *arg)
{
	struct balance *b = arg;
	struct workers *ws = b->workers;
	uint32_t from = ws->n ? (uint32_t)rand() % ws->n : 0, to = ws->n ? (uint32_t)rand() % ws->n : 0;

	if (!b->under_way && from != to && serves(ws, from) && serves(ws, to) && !ws->rolling)
		move(b, from, to, 1 + (uint32_t)rand() % 40, LINK_ALL);
	timer_set(ws->loop, &b->orders, ws->loop->now_ms + fault_setting("TCPPROXY_MOVES"), move_some, b);
}
#endif

void balance_init(struct balance *b, struct workers *ws)
{
	*b = (struct balance){.workers = ws};
#ifdef FAULTS
	if (fault_setting("TCPPROXY_MOVES"))
		timer_set(ws->loop, &b->orders, ws->loop->now_ms + 100, move_some, b);
#endif
}

void balance_asked(struct balance *b, bool busy)
{
	struct workers *ws = b->workers;

	if (b->under_way || b->timer.place || ws->n < 2 || !phase_serves(*ws->phase))
		return;
	b->busy = busy;
	/* not while it still changes quickly */
	timer_set(ws->loop, &b->timer, ws->loop->now_ms + BALANCE_PAUSE_MS, even_out, b);
}

void balance_done(struct balance *b, uint32_t worker, uint32_t n)
{
	struct workers *ws = b->workers;

	if (n > 0)
		log_info("%u connections were handed over from worker %u%s", n, worker,
		         b->under_way && b->from == worker ? " to another" : "");
	if (!b->under_way || b->from != worker)
		return;
	timer_clear(ws->loop, &b->timer);
	b->under_way = false;
}
