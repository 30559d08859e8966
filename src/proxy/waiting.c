#include "proxy/waiting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "takeover/row_state.h"

#define HELD_LOOK_MS 50   /* what is known of servers is looked at so often; nobody says that it has changed */
#define FRESH_MS     1000 /* who has looked within this counts */
#define PACE_MIN_MS  100
#define PACE_MAX_MS  1000
#define SAY_MS       1000
#define TURN_MAX     64 /* of a line that go on in one turn: others have events, too */

struct waiting_line {
	struct waiting_line *next;
	uint64_t key;
	struct waiting **heap; /* the oldest ticket is the first */
	uint32_t n, cap;
	int64_t try_ms, pace_ms; /* not before; how long until the next one. 0: none has failed */
	int64_t said_ms;         /* the last message about it */
	enum waiting_hope hope;
	uint32_t trying, trying_serial; /* the row that tries, and one; 0: none */
};

/* ---- the heap ---- */

static bool is_before(const struct waiting *a, const struct waiting *b)
{
	return a->cold->wait.since_us < b->cold->wait.since_us;
}

static void put(struct waiting_line *l, uint32_t at, struct waiting *w)
{
	l->heap[at] = w;
	w->at = at;
}

static void rise(struct waiting_line *l, struct waiting *w)
{
	uint32_t at = w->at;

	for (; at > 0 && is_before(w, l->heap[(at - 1) / 2]); at = (at - 1) / 2)
		put(l, at, l->heap[(at - 1) / 2]);
	put(l, at, w);
}

static void sink(struct waiting_line *l, struct waiting *w)
{
	uint32_t at = w->at;

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child + 1 < l->n && is_before(l->heap[child + 1], l->heap[child]))
			child++;
		if (child >= l->n || !is_before(l->heap[child], w))
			break;
		put(l, at, l->heap[child]);
		at = child;
	}
	put(l, at, w);
}

static void heap_add(struct waiting_line *l, struct waiting *w)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		l->heap = mem_resize(l->heap, l->cap, sizeof(struct waiting *));
	}
	w->at = l->n++;
	rise(l, w);
}

static void heap_remove(struct waiting_line *l, struct waiting *w)
{
	struct waiting *last = l->heap[--l->n];

	if (last == w)
		return;
	last->at = w->at;
	rise(l, last);
	sink(l, last);
}

/* ---- what the workers say of a line ---- */

static uint32_t first_slot(uint64_t key)
{
	return (uint32_t)(key >> 32 ^ key) & (TRIO_LINES - 1);
}

/* NULL: this worker never had it. */
static const struct trio_line *find_slot(const struct trio *t, uint64_t key)
{
	const struct trio_line *lines = trio_lines(t);

	for (uint32_t i = first_slot(key), n = 0; n < TRIO_LINES; n++, i = (i + 1) & (TRIO_LINES - 1)) {
		uint64_t word = atomic_load(&lines[i].key);

		if (word == key)
			return &lines[i];
		if (word == 0)
			break;
	}
	return NULL;
}

/* The own one, found or taken. NULL: there are too many lines; in this one the order is kept among our own clients only. */
static struct trio_line *own_slot(const struct waiting_room *room, uint64_t key)
{
	struct trio_line *lines = trio_lines(room->trio), *unused = (struct trio_line *)find_slot(room->trio, key);

	if (unused)
		return unused;
	for (uint32_t i = first_slot(key), n = 0; n < TRIO_LINES && !unused; n++, i = (i + 1) & (TRIO_LINES - 1))
		if (atomic_load(&lines[i].since_us) == 0)
			unused = &lines[i];
	if (unused)
		atomic_store(&unused->key, key);
	return unused;
}

/* The oldest ticket that another worker has, if it still looks; 0: it has none. */
static int64_t oldest_of(const struct waiting_room *room, uint32_t worker, uint64_t key)
{
	const struct trio *t = room->trios[worker];
	const struct trio_line *slot;

	if (worker == room->own || atomic_load(&t->waiting) == 0)
		return 0;
	slot = find_slot(t, key);
	if (!slot || room->loop->now_ms - atomic_load(&slot->looked_ms) > FRESH_MS)
		return 0;
	return atomic_load(&slot->since_us);
}

static bool is_first_of_all(const struct waiting_room *room, const struct waiting *w)
{
	for (uint32_t i = 0; i < room->n_trios; i++) {
		int64_t oldest = oldest_of(room, i, w->line->key);

		if (oldest != 0 && oldest < w->cold->wait.since_us)
			return false;
	}
	return true;
}

static bool somebody_waits(const struct waiting_room *room, uint32_t worker)
{
	return atomic_load_explicit(&room->trios[worker]->waiting, memory_order_relaxed) > 0;
}

static void wake_others(struct waiting_room *room)
{
	room->news = false;
	for (uint32_t i = 0; i < room->n_trios; i++)
		if (i != room->own && somebody_waits(room, i) &&
		    write(room->rearm_fds[i], &(uint64_t){1}, sizeof(uint64_t)) < 0)
			errno = 0; /* it looks by itself */
}

/* Another one may be the first now. */
static void publish(struct waiting_room *room, struct waiting_line *l)
{
	struct trio_line *slot = l->n > 0 || find_slot(room->trio, l->key) ? own_slot(room, l->key) : NULL;
	int64_t since_us = l->n > 0 ? l->heap[0]->cold->wait.since_us : 0;

	if (!slot)
		return;
	atomic_store(&slot->looked_ms, room->loop->now_ms);
	if (room->inherited > 0)
		return; /* the first of them may not be taken up yet */
	if (atomic_exchange(&slot->since_us, since_us) != since_us)
		room->news = room->loop->busy = true;
}

/* ---- lines ---- */

static struct waiting_line *find_line(const struct waiting_room *room, uint64_t key)
{
	struct waiting_line *l = room->lines;

	while (l && l->key != key)
		l = l->next;
	return l;
}

static struct waiting_line *take_line(struct waiting_room *room, uint64_t key)
{
	struct waiting_line *l = find_line(room, key);

	if (!l) {
		l = mem_alloc(sizeof(*l));
		*l = (struct waiting_line){.next = room->lines, .key = key};
		room->lines = l;
	}
	return l;
}

static bool is_trying(const struct waiting_room *room, const struct waiting_line *l)
{
	const struct row *row = l->trying ? trio_row(room->trio, l->trying - 1) : NULL;

	return row && row->serial == l->trying_serial &&
	       (row->state == ROW_RESOLVE || row->state == ROW_CONNECTING || row->state == ROW_STARTING);
}

/* A line that is over is kept as long as its pace says something. */
static void drop_lines(struct waiting_room *room)
{
	struct waiting_line **at = &room->lines;

	while (*at) {
		struct waiting_line *l = *at;

		if (l->n > 0 || is_trying(room, l) || room->loop->now_ms < l->try_ms + PACE_MAX_MS) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		free(l->heap);
		free(l);
	}
}

bool waiting_has_line(const struct waiting_room *room, uint64_t key)
{
	const struct waiting_line *l = find_line(room, key);

	if (l && (l->n > 0 || is_trying(room, l)))
		return true;
	for (uint32_t i = 0; i < room->n_trios; i++)
		if (oldest_of(room, i, key) != 0)
			return true;
	return false;
}

void waiting_wake(struct waiting_room *room)
{
	if (!room->rearm_fds)
		return;
	for (uint32_t i = 0; i < room->n_trios; i++) {
		if (!somebody_waits(room, i))
			continue;
		if (i == room->own)
			room->wanted = true;
		else
			room->news = true;
		room->loop->busy = true;
	}
}

/* ---- looking ---- */

static void tell_how_many(struct waiting_room *room)
{
	atomic_store(&room->trio->waiting, room->n + room->inherited);
}

static void leave(struct waiting *w)
{
	heap_remove(w->line, w);
	w->line = NULL;
	w->room->n--;
	tell_how_many(w->room);
	timer_clear(w->room->loop, &w->timer);
	/* one store decides how long it has waited; the other only makes it shorter to say */
	w->cold->wait.waited_us = clock_mono_us() - w->cold->wait.began_us;
	barrier();
	w->cold->wait.began_us = 0;
	w->row->deadline_ms = 0;
}

/* Those of a line that may go on. */
static void look_at(struct waiting_room *room, struct waiting_line *l)
{
	for (int n = 0; l->n > 0; n++) {
		struct waiting *w = l->heap[0];
		const struct row *row = w->row;
		uint32_t serial = row->serial;

		if (n == TURN_MAX) {
			room->wanted = room->loop->busy = true;
			break;
		}
		if (!w->ready(w->arg, is_first_of_all(room, w)))
			break;
		leave(w);
		w->done(w->arg, WAITING_TURN);
		if (l->n > 0 && l->heap[0]->row == row && row->serial == serial)
			break; /* there was nothing for it after all */
	}
	publish(room, l);
}

static void look_tick(void *arg)
{
	struct waiting_room *room = arg;

	room->wanted = true;
	waiting_look(room);
}

/* When is the next look? What was tried, and failed, may be tried again before. */
static void plan(struct waiting_room *room)
{
	int64_t now = room->loop->now_ms, at = 0;

	for (const struct waiting_line *l = room->lines; l; l = l->next) {
		int64_t its = now + WAITING_LOOK_MS;

		if (l->n > 0 && l->heap[0]->row->state == ROW_HELD)
			its = l->try_ms > now && l->try_ms < now + HELD_LOOK_MS ? l->try_ms : now + HELD_LOOK_MS;
		if (at == 0 || its < at)
			at = its;
	}
	if (at)
		timer_set(room->loop, &room->timer, at, look_tick, room);
	else
		timer_clear(room->loop, &room->timer);
}

void waiting_look(struct waiting_room *room)
{
	if (room->wanted && room->inherited == 0) {
		room->wanted = false;
		for (struct waiting_line *l = room->lines; l; l = l->next) /* one that is new comes in front */
			look_at(room, l);
		drop_lines(room);
		plan(room);
	}
	if (room->news)
		wake_others(room);
}

/* ---- the pace ---- */

void waiting_hopes(struct waiting *w, enum waiting_hope hope)
{
	if (hope > w->line->hope)
		w->line->try_ms = w->line->pace_ms = 0;
	w->line->hope = hope;
}

bool waiting_may_try(const struct waiting *w)
{
	return w->room->loop->now_ms >= w->line->try_ms && (w->line->hope == HOPE_GOOD || !is_trying(w->room, w->line));
}

void waiting_tries(struct waiting_room *room, uint64_t line, const struct row *row)
{
	struct waiting_line *l = take_line(room, line);

	l->trying = row_index(room->trio, row) + 1;
	l->trying_serial = row->serial;
}

void waiting_failed(struct waiting_room *room, uint64_t line)
{
	struct waiting_line *l = take_line(room, line);
	int64_t now = room->loop->now_ms;

	if (now < l->try_ms)
		return; /* of many that failed at the same time */
	l->pace_ms = l->pace_ms == 0 ? PACE_MIN_MS : 2 * l->pace_ms < PACE_MAX_MS ? 2 * l->pace_ms : PACE_MAX_MS;
	l->try_ms = now + l->pace_ms;
	if (l->hope < HOPE_SOME)
		l->hope = HOPE_SOME;
}

bool waiting_says(struct waiting_room *room, uint64_t line)
{
	struct waiting_line *l = take_line(room, line);

	if (l->said_ms && room->loop->now_ms - l->said_ms < SAY_MS)
		return false;
	l->said_ms = room->loop->now_ms;
	return true;
}

/* ---- one who waits ---- */

static void finish(struct waiting *w, enum waiting_outcome outcome)
{
	leave(w);
	w->room->wanted = w->room->loop->busy = true; /* who comes next may be the first now */
	w->done(w->arg, outcome);
}

static void time_is_over(void *arg)
{
	finish(arg, WAITING_OVER);
}

void waiting_start(struct waiting *w, struct waiting_room *room, struct row *row, struct row_cold *cold,
                   enum row_state state, uint64_t line, int64_t deadline_ms)
{
	int64_t now_us = clock_mono_us();

	w->room = room;
	w->row = row;
	w->cold = cold;
	w->line = take_line(room, line);
	if (cold->wait.began_us == 0)
		cold->wait.began_us = now_us - cold->wait.waited_us;
	row->deadline_ms = deadline_ms;
	row_set_state(row, state);
	room->n++;
	tell_how_many(room);
	heap_add(w->line, w);
	publish(room, w->line);
	timer_set(room->loop, &w->timer, deadline_ms, time_is_over, w);
	plan(room);
}

void waiting_event(struct waiting *w, uint32_t events)
{
	if (events & EPOLLERR)
		finish(w, WAITING_RESET);
}

void waiting_cancel(struct waiting *w)
{
	if (!w->line)
		return;
	leave(w);
	w->room->wanted = w->room->loop->busy = true;
}

/* ---- the room ---- */

void waiting_room_init(struct waiting_room *room, struct loop *loop, struct trio *const *trios, uint32_t n_trios,
                       uint32_t own, const int *rearm_fds)
{
	*room = (struct waiting_room){.loop = loop,
	                              .trio = trios[own],
	                              .trios = trios,
	                              .n_trios = n_trios,
	                              .own = own,
	                              .rearm_fds = rearm_fds};
}

void waiting_room_inherit(struct waiting_room *room, uint32_t n)
{
	room->inherited = n;
	tell_how_many(room);
}

void waiting_room_settle(struct waiting_room *room)
{
	struct trio_line *lines = trio_lines(room->trio);

	if (room->inherited == 0)
		return;
	room->inherited = 0;
	tell_how_many(room);
	for (uint32_t i = 0; i < TRIO_LINES; i++) {
		uint64_t key = atomic_load(&lines[i].key);

		if (key != 0 && atomic_load(&lines[i].since_us) != 0 && !find_line(room, key))
			atomic_store(&lines[i].since_us, 0);
	}
	room->wanted = room->loop->busy = true;
}

void waiting_room_forget(struct waiting_room *room)
{
	while (room->lines) {
		struct waiting_line *l = room->lines;

		room->lines = l->next;
		free(l->heap);
		free(l);
	}
}
