/* steer_kill.c - connections are ended from here, wherever they are by now. */
#include <stdlib.h>
#include "admin/commands.h"
#include "base/log.h"
#include "base/mem.h"
#include "supervisor/inspect.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

#define STEER_KILL_AGAIN_MS 20
#define STEER_KILL_WAIT_MS  2000 /* nothing is on its way between two workers for so long */

struct killing {
	struct supervisor *supervisor;
	struct killing *next;
	struct timer timer;
	int64_t until_ms;
	enum end end; /* that their records say */
	size_t n;
	uint64_t *ids; /* in order */
};

/* again: where it is known to have been said, and waits to be read, it is not said once more. */
static void send_kills(struct supervisor *s, const struct connection_view *list, size_t n, enum end end, bool again)
{
	struct workers *ws = &s->children.workers;

	for (uint32_t i = 0; i < ws->n; i++) {
		struct wire m = {.type = WIRE_KILL, .end = end};

		if (again && !outbox_is_empty(&ws->list[i].child.outbox))
			continue;
		for (size_t k = 0; k < n; k++) {
			if (list[k].worker != i)
				continue;
			m.kill[m.n / 2].row = list[k].row;
			m.kill[m.n / 2].serial = list[k].serial;
			m.n += 2;
			if (m.n == SOCK_MAX_FDS) {
				worker_send(&ws->list[i], &m, NULL, 0);
				m.n = 0;
			}
		}
		if (m.n > 0)
			worker_send(&ws->list[i], &m, NULL, 0);
	}
}

static void forget(struct killing *k)
{
	struct killing **at = &k->supervisor->killings;

	while (*at && *at != k)
		at = &(*at)->next;
	if (*at)
		*at = k->next;
	timer_clear(&k->supervisor->loop, &k->timer);
	free(k->ids);
	free(k);
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* One that has gone to another worker meanwhile was not met where it was seen. */
static void steer_kill_kill_the_rest(void *arg)
{
	struct killing *k = arg;
	struct loop *l = &k->supervisor->loop;
	struct snapshot *shot = inspect_take(k->supervisor, true);
	size_t n = 0;

	for (size_t i = 0; i < shot->n_connections; i++)
		if (bsearch(&shot->connections[i].id, k->ids, k->n, sizeof(*k->ids), compare_ids))
			shot->connections[n++] = shot->connections[i];
	send_kills(k->supervisor, shot->connections, n, k->end, true);
	snapshot_free(shot);
	if (n == 0 || l->now_ms >= k->until_ms)
		forget(k);
	else
		timer_set(l, &k->timer, l->now_ms + STEER_KILL_AGAIN_MS, steer_kill_kill_the_rest, k);
}

void steer_kill(struct supervisor *s, const struct connection_view *list, size_t n, enum end end)
{
	struct killing *k = mem_alloc(sizeof(*k));

	send_kills(s, list, n, end, false);
	*k = (struct killing){.supervisor = s,
	                      .next = s->killings,
	                      .end = end,
	                      .until_ms = s->loop.now_ms + STEER_KILL_WAIT_MS,
	                      .n = n,
	                      .ids = mem_alloc(n * sizeof(*k->ids))};
	for (size_t i = 0; i < n; i++)
		k->ids[i] = list[i].id;
	qsort(k->ids, n, sizeof(*k->ids), compare_ids);
	s->killings = k;
	timer_set(&s->loop, &k->timer, s->loop.now_ms + STEER_KILL_AGAIN_MS, steer_kill_kill_the_rest, k);
}

void steer_kill_stop(struct supervisor *s)
{
	while (s->killings)
		forget(s->killings);
}
