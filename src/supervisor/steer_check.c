/* steer_check.c - `check SERVER`: the checker is told to ask it at once; the answers stand in shared memory, where they are looked for
 * until all are there. */
#include <stdlib.h>
#include "admin/server.h"
#include "base/mem.h"
#include "supervisor/meant.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

#define CHECK_LOOK_MS  20
#define CHECK_EXTRA_MS 3000 /* beyond the time that the checks themselves may take */
#define CHECK_NO       3    /* what tcpproxyctl exits with */

struct wanted {
	uint32_t seat, n_lines;
};

struct checking {
	struct supervisor *supervisor;
	struct checking *next;
	struct admin_client *client; /* NULL: it has left */
	char *server;                /* as it was said */
	struct timer timer;
	int64_t asked_ms, until_ms;
	struct wanted *list;
	size_t n;
};

static void checking_free(struct checking *k)
{
	struct checking **at = &k->supervisor->checkings;

	while (*at && *at != k)
		at = &(*at)->next;
	if (*at)
		*at = k->next;
	timer_clear(&k->supervisor->loop, &k->timer);
	free(k->server);
	free(k->list);
	free(k);
}

static void client_left(void *arg)
{
	((struct checking *)arg)->client = NULL;
}

/* ---- the answers ---- */

/* false: not all are there. *no: the seat of one that is a no; SEAT_NONE: there is none. */
static bool all_answered(const struct checking *k, uint32_t *no)
{
	const struct world *w = k->supervisor->children.workers.world;

	*no = SEAT_NONE;
	for (size_t i = 0; i < k->n; i++)
		for (uint32_t line = 0; line < k->list[i].n_lines; line++) {
			bool yes;

			if (!health_answered(&w->health[k->list[i].seat], line, k->asked_ms, &yes))
				return false;
			if (!yes)
				*no = k->list[i].seat;
		}
	return true;
}

static void say(const struct checking *k, uint32_t no)
{
	struct buf text = BUF_INIT;
	char words[HEALTH_WORDS] = "";

	if (no != SEAT_NONE)
		health_words(&k->supervisor->children.workers.world->health[no], words);
	buf_addf(&text, "%s: %s%s%s\n", k->server, no == SEAT_NONE ? "up" : "down", *words ? ": " : "", words);
	admin_answer(k->client, no == SEAT_NONE ? 0 : CHECK_NO, &text);
}

static void look(void *arg)
{
	struct checking *k = arg;
	struct loop *l = &k->supervisor->loop;
	uint32_t no;

	if (k->client && !all_answered(k, &no)) {
		if (l->now_ms < k->until_ms) {
			timer_set(l, &k->timer, l->now_ms + CHECK_LOOK_MS, look, k);
			return;
		}
		admin_error(k->client, "%s has not been asked in time: the log says what keeps the checker", k->server);
	} else if (k->client) {
		say(k, no);
	}
	checking_free(k);
}

/* ---- the question ---- */

static void want(struct checking *k, uint32_t seat, const struct section *section)
{
	int64_t longest_ms = 0;

	for (size_t i = 0; i < k->n; i++)
		if (k->list[i].seat == seat)
			return;
	k->list = mem_resize(k->list, k->n + 1, sizeof(*k->list));
	k->list[k->n++] = (struct wanted){seat, (uint32_t)section->n_checks};
	for (size_t i = 0; i < section->n_checks; i++)
		if (section->checks[i].timeout_ms > longest_ms)
			longest_ms = section->checks[i].timeout_ms;
	/* one that is under way ends first */
	if (k->until_ms < k->asked_ms + 2 * longest_ms + CHECK_EXTRA_MS)
		k->until_ms = k->asked_ms + 2 * longest_ms + CHECK_EXTRA_MS;
}

static bool has(const struct meant *m, uint32_t target)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->list[i] == target)
			return true;
	return false;
}

/* All checks of these servers; if a service was said, only those of it. */
static void want_all(struct checking *k, const struct meant *m)
{
	const struct world *w = k->supervisor->children.workers.world;
	const struct config *c = k->supervisor->rules.config;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		if (s->n_checks == 0 || !meant_in(m, w, c, s))
			continue;
		for (size_t n = 0; n < s->n_servers; n++) {
			uint32_t seat = world_seat(w, c, s, &s->servers[n]);

			if (seat < SEATS_MAX && has(m, world_target(w, c, s, &s->servers[n])))
				want(k, seat, s);
		}
	}
}

static bool ask(const struct checking *k)
{
	uint32_t *seats = mem_alloc(k->n * sizeof(*seats));
	bool asked;

	for (size_t i = 0; i < k->n; i++)
		seats[i] = k->list[i].seat;
	asked = checker_child_ask(&k->supervisor->children.checker, seats, k->n);
	free(seats);
	return asked;
}

void steer_check(struct supervisor *s, struct admin_client *c, const char *server)
{
	struct buf why = BUF_INIT;
	struct meant m = meant_configured(s->children.workers.world, s->rules.config, server, &why);
	struct checking *k = mem_alloc(sizeof(*k));

	*k = (struct checking){.supervisor = s, .server = mem_strdup(server), .asked_ms = s->loop.now_ms};
	want_all(k, &m);
	if (m.n == 0)
		admin_error(c, "%s", why.s);
	else if (k->n == 0)
		admin_error(c, "%s is not checked: no line \"check KIND\" of its section says how", server);
	else if (!ask(k))
		admin_error(c, "the process that checks servers is not there at the moment");
	else
		k->client = c;
	if (k->client) {
		k->next = s->checkings;
		s->checkings = k;
		admin_on_leave(c, client_left, k);
		timer_set(&s->loop, &k->timer, s->loop.now_ms + CHECK_LOOK_MS, look, k);
	} else {
		checking_free(k);
	}
	meant_release(&m);
	buf_release(&why);
}

void steer_check_stop(struct supervisor *s)
{
	while (s->checkings)
		checking_free(s->checkings);
}
