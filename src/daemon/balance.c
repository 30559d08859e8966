#include "daemon/balance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "daemon/supervisor.h"

#define PAUSE_MS    1000  /* what is still changing then was not worth it */
#define PATIENCE_MS 10000 /* whoever is not through by then has died of something else */
#define LEAST       8     /* connections that are not worth it */
#define LEAST_LOAD  30    /* likewise, percent of a processor */

static uint32_t live(const struct supervisor *s, uint32_t i)
{
	return atomic_load(&s->world->live[i]);
}

static bool serves(const struct supervisor *s, uint32_t i)
{
	return s->crews[i].control.fd >= 0 && s->crews[i].adopted;
}

static void over(void *arg)
{
	struct balance *b = arg;

	b->under_way = false;
}

/* Both get one end of a link, and the memory of the other. */
static int link_up(struct supervisor *s, uint32_t from, uint32_t to, uint32_t n,
                   enum link_which which)
{
	struct wire give = {.type = WIRE_GIVE, .n = 2, .ids = {n, which}};
	struct wire take = {.type = WIRE_TAKE, .n = 2};
	int pair[2], rc = sock_message_pair(pair);

	if (rc < 0)
		return rc;
	crew_send(&s->crews[from], &give, (int[]){pair[0], s->crews[to].memfd}, 2);
	crew_send(&s->crews[to], &take, (int[]){pair[1], s->crews[from].memfd}, 2);
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static void move(struct balance *b, uint32_t from, uint32_t to, uint32_t n, enum link_which which)
{
	struct supervisor *s = b->supervisor;
	int rc = link_up(s, from, to, n, which);

	if (rc < 0) {
		log_error("moving connections from worker %u to worker %u: %s", from, to,
		          strerror(-rc));
		return;
	}
	b->under_way = true;
	b->from = from;
	timer_set(&s->loop, &b->timer, s->loop.now_ms + PATIENCE_MS, over, b);
}

/* What this worker has too much of, or not. */
static uint32_t burden(const struct balance *b, uint32_t i)
{
	const struct supervisor *s = b->supervisor;

	return b->busy ? world_load(s->world, i, s->loop.now_ms) : live(s, i);
}

static void even_out(void *arg)
{
	struct balance *b = arg;
	struct supervisor *s = b->supervisor;
	uint32_t from = 0, to = 0;

	for (uint32_t i = 1; i < s->n_crews; i++) {
		if (burden(b, i) > burden(b, from))
			from = i;
		if (burden(b, i) < burden(b, to))
			to = i;
	}
	if (!serves(s, from) || !serves(s, to) || s->renewing < s->n_crews ||
	    burden(b, from) <= burden(b, to) + (b->busy ? LEAST_LOAD : LEAST))
		return;
	if (b->busy)
		move(b, from, to, UINT32_MAX, LINK_BUSY);
	else
		move(b, from, to, (live(s, from) - live(s, to)) / 2, LINK_SETTLED);
}

#ifdef FAULTS
/* To order, for tests: every so many milliseconds some connections move, from anyone to anyone. */
static void move_some(void *arg)
{
	struct balance *b = arg;
	struct supervisor *s = b->supervisor;
	uint32_t from = (uint32_t)rand() % s->n_crews, to = (uint32_t)rand() % s->n_crews;

	if (!b->under_way && from != to && serves(s, from) && serves(s, to) &&
	    s->renewing >= s->n_crews)
		move(b, from, to, 1 + (uint32_t)rand() % 40, LINK_ALL);
	timer_set(&s->loop, &b->orders, s->loop.now_ms + fault_setting("TCPPROXY_MOVES"), move_some,
	          b);
}
#endif

void balance_init(struct balance *b, struct supervisor *s)
{
	*b = (struct balance){.supervisor = s};
#ifdef FAULTS
	if (fault_setting("TCPPROXY_MOVES") && s->n_crews > 1)
		timer_set(&s->loop, &b->orders, s->loop.now_ms + 100, move_some, b);
#endif
}

void balance_asked(struct balance *b, bool busy)
{
	struct supervisor *s = b->supervisor;

	if (b->under_way || b->timer.place || s->n_crews < 2 || s->stopping || s->quitting)
		return;
	b->busy = busy;
	/* not while it still changes quickly */
	timer_set(&s->loop, &b->timer, s->loop.now_ms + PAUSE_MS, even_out, b);
}

void balance_done(struct balance *b, uint32_t worker, uint32_t n)
{
	struct supervisor *s = b->supervisor;

	if (n > 0)
		log_info("%u connections were handed over from worker %u%s", n, worker,
		         b->under_way && b->from == worker ? " to another" : "");
	if (!b->under_way || b->from != worker)
		return;
	timer_clear(&s->loop, &b->timer);
	b->under_way = false;
}
