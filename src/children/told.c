#include "children/told.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "children/workers.h"

#define TOLD_PATIENCE_MS 2000

/* ---- the difference ---- */

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int compare_entries(const void *a, const void *b)
{
	return compare_ids(&(*(const struct socket_entry *const *)a)->id,
	                   &(*(const struct socket_entry *const *)b)->id);
}

/* The entries in the order of their numbers; the caller frees the list. */
static const struct socket_entry **in_order(const struct sockets *s)
{
	const struct socket_entry **list = mem_alloc((s->n + 1) * sizeof(*list));

	for (size_t i = 0; i < s->n; i++)
		list[i] = &s->list[i];
	qsort(list, s->n, sizeof(*list), compare_entries);
	return list;
}

static bool knows(const struct told *t, uint32_t id)
{
	return t->n > 0 && bsearch(&id, t->ids, t->n, sizeof(id), compare_ids);
}

static void add_known(struct told *t, const uint32_t *ids, size_t n)
{
	t->ids = mem_resize(t->ids, t->n + n + 1, sizeof(*t->ids));
	memcpy(t->ids + t->n, ids, n * sizeof(*ids));
	t->n += n;
	qsort(t->ids, t->n, sizeof(*t->ids), compare_ids);
}

static void forget_known(struct told *t, const uint32_t *ids, size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < t->n; i++)
		if (!bsearch(&t->ids[i], ids, n, sizeof(*ids), compare_ids))
			t->ids[left++] = t->ids[i];
	t->n = left;
}

/* One message. False: it has to wait, and so has the rest. */
static bool send_part(struct worker *w, struct wire *m, const int *fds)
{
	if (m->n > 0)
		worker_send(w, m, fds, fds ? m->n : 0);
	if (m->n > 0 && m->type == WIRE_LISTEN)
		add_known(&w->told, m->ids, m->n);
	else if (m->n > 0)
		forget_known(&w->told, m->ids, m->n);
	m->n = 0;
	return outbox_is_empty(&w->child.outbox);
}

static bool send_new(struct worker *w, const struct socket_entry **now, size_t n)
{
	struct wire m = {.type = WIRE_LISTEN};
	int fds[WIRE_LISTENERS];

	for (size_t i = 0; i < n; i++) {
		if (knows(&w->told, now[i]->id))
			continue;
		m.listen.id[m.n] = now[i]->id;
		m.listen.place[m.n] = addr_place(&now[i]->addr);
		fds[m.n++] = now[i]->fd;
		if (m.n == WIRE_LISTENERS && !send_part(w, &m, fds))
			return false;
	}
	return send_part(w, &m, fds);
}

/* Those that it knows and that are not among these, as many as go into one message, in order. */
static void find_gone(const struct told *t, const struct socket_entry **now, size_t n, struct wire *m)
{
	size_t k = 0;

	for (size_t i = 0; i < t->n && m->n < SOCK_MAX_FDS; i++) {
		while (k < n && now[k]->id < t->ids[i])
			k++;
		if (k == n || now[k]->id != t->ids[i])
			m->ids[m->n++] = t->ids[i];
	}
}

static bool send_gone(struct worker *w, const struct socket_entry **now, size_t n)
{
	struct wire m = {.type = WIRE_UNLISTEN};

	for (;;) {
		find_gone(&w->told, now, n, &m);
		if (m.n == 0)
			return true;
		if (!send_part(w, &m, NULL))
			return false;
	}
}

void told_begin(struct worker *w, uint64_t generation, const struct sockets *listeners)
{
	told_end(w);
	w->told.generation = generation;
	for (size_t i = 0; listeners && i < listeners->n; i++)
		add_known(&w->told, &listeners->list[i].id, 1);
}

static bool has_blank(const struct workers *ws)
{
	return ws->blanks && ws->blanks->n > 0;
}

static void send_blank(struct worker *w)
{
	const struct blank_list *l = w->workers->blanks;
	struct wire m = {.type = WIRE_BLANK, .n = l->n};

	memcpy(m.blanks, l->kinds, l->n * sizeof(m.blanks[0]));
	worker_send(w, &m, l->fds, l->n);
}

static bool send_rules(struct worker *w)
{
	struct workers *ws = w->workers;

	if (w->told.stick != ws->stick_number)
		worker_send(w, &(struct wire){.type = WIRE_STICK}, &ws->stick_fd, 1);
	w->told.stick = ws->stick_number;
	if (!w->told.blank && has_blank(ws))
		send_blank(w);
	w->told.blank = true;
	if (w->told.generation != ws->rules->generation)
		worker_send(w, &(struct wire){.type = WIRE_RULES, .generation = ws->rules->generation}, &ws->rules->fd,
		            1);
	w->told.generation = ws->rules->generation;
	return outbox_is_empty(&w->child.outbox);
}

/* What has to wait is one message at a time: the rest is looked for again when that has gone. */
void told_update(struct worker *w)
{
	struct workers *ws = w->workers;
	const struct socket_entry **now;

	if (w->child.control.fd < 0 || !outbox_is_empty(&w->child.outbox) || w->told.number == ws->told_number)
		return;
	now = in_order(&ws->rules->listeners);
	if (send_rules(w) && send_new(w, now, ws->rules->listeners.n) && send_gone(w, now, ws->rules->listeners.n)) {
		w->told.number = ws->told_number;
		worker_send(w, &(struct wire){.type = WIRE_SYNC, .number = ws->told_number}, NULL, 0);
	}
	free(now);
}

void told_update_all(struct workers *ws)
{
	ws->told_number++;
	for (uint32_t i = 0; i < ws->n; i++)
		told_update(&ws->list[i]);
}

void told_end(struct worker *w)
{
	free(w->told.ids);
	w->told = (struct told){0};
}

/* ---- which worker goes by what ---- */

struct told_waiter {
	struct workers *workers;
	struct told_waiter *next;
	uint64_t number;
	struct timer timer;
	void (*done)(void *arg, const char *missing);
	void *arg;
};

/* One that is not there, or not ours yet, will be told when it is. */
static bool is_missing(const struct worker *w, uint64_t number)
{
	return w->child.control.fd >= 0 && w->adopted && w->told.obeyed < number;
}

static void finish(struct told_waiter *waiter)
{
	struct workers *ws = waiter->workers;
	struct told_waiter **at = &ws->told_waiters;
	struct buf missing = BUF_INIT;

	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	timer_clear(ws->loop, &waiter->timer);
	for (uint32_t i = 0; i < ws->n; i++)
		if (is_missing(&ws->list[i], waiter->number)) {
			buf_addf(&missing, "%sworker %u", missing.len ? ", " : "", i);
			ws->list[i].told.late = true;
		}
	waiter->done(waiter->arg, missing.len ? missing.s : NULL);
	buf_release(&missing);
	free(waiter);
}

static void told_waited_enough(void *arg)
{
	finish(arg);
}

static bool all_obeyed(const struct workers *ws, uint64_t number)
{
	for (uint32_t i = 0; i < ws->n; i++)
		if (is_missing(&ws->list[i], number))
			return false;
	return true;
}

void told_check(struct workers *ws)
{
	for (struct told_waiter *waiter = ws->told_waiters, *next; waiter; waiter = next) {
		next = waiter->next;
		if (all_obeyed(ws, waiter->number))
			finish(waiter);
	}
}

void told_wait(struct workers *ws, void (*done)(void *arg, const char *missing), void *arg)
{
	struct told_waiter *waiter = mem_alloc(sizeof(*waiter));

	*waiter = (struct told_waiter){
	        .workers = ws, .next = ws->told_waiters, .number = ws->told_number, .done = done, .arg = arg};
	ws->told_waiters = waiter;
	timer_set(ws->loop, &waiter->timer, ws->loop->now_ms + TOLD_PATIENCE_MS, told_waited_enough, waiter);
	told_check(ws);
}

void told_obeyed(struct worker *w, uint64_t number)
{
	if (number > w->told.number || number <= w->told.obeyed)
		return;
	w->told.obeyed = number;
	if (w->told.late && number == w->workers->told_number) {
		w->told.late = false;
		log_info("worker %u goes by the configuration that is in force now", w->number);
	}
	told_check(w->workers);
}
