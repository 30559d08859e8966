#include "event/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"

#define KIND_SHIFT       56
#define CATCH_UP_BATCHES 64  /* a flood of events must not hold up the timers for ever */
#define KEEP_MS          100 /* until what could not be watched is looked at again */

static void loop_try_again(void *arg);

/* ---- timers: a binary heap, the earliest first; place 1 is the root ---- */

static void heap_place(struct loop *l, uint32_t i, struct timer *t)
{
	l->heap[i] = t;
	t->place = i;
}

static void heap_up(struct loop *l, uint32_t i, struct timer *t)
{
	while (i > 1 && l->heap[i / 2]->at_ms > t->at_ms) {
		heap_place(l, i, l->heap[i / 2]);
		i /= 2;
	}
	heap_place(l, i, t);
}

static void heap_down(struct loop *l, uint32_t i, struct timer *t)
{
	for (;;) {
		uint32_t child = 2 * i;

		if (child > l->n_timers)
			break;
		if (child < l->n_timers && l->heap[child + 1]->at_ms < l->heap[child]->at_ms)
			child++;
		if (l->heap[child]->at_ms >= t->at_ms)
			break;
		heap_place(l, i, l->heap[child]);
		i = child;
	}
	heap_place(l, i, t);
}

static void heap_fix(struct loop *l, uint32_t i, struct timer *t)
{
	if (i > 1 && l->heap[i / 2]->at_ms > t->at_ms)
		heap_up(l, i, t);
	else
		heap_down(l, i, t);
}

void timer_set(struct loop *l, struct timer *t, int64_t at_ms, void (*fn)(void *arg), void *arg)
{
	t->at_ms = at_ms;
	t->fn = fn;
	t->arg = arg;
	if (t->place) {
		heap_fix(l, t->place, t);
		return;
	}
	if (l->n_timers + 2 > l->cap_timers) {
		l->cap_timers = l->cap_timers ? l->cap_timers * 2 : 64;
		l->heap = mem_resize(l->heap, l->cap_timers, sizeof(struct timer *));
	}
	l->n_timers++;
	heap_up(l, l->n_timers, t);
}

void timer_clear(struct loop *l, struct timer *t)
{
	uint32_t i = t->place;
	struct timer *last;

	if (i == 0)
		return;
	t->place = 0;
	last = l->heap[l->n_timers--];
	if (last != t)
		heap_fix(l, i, last);
}

static void run_timers(struct loop *l)
{
	/* What a timer sets anew for now or earlier waits for the next turn. */
	for (uint32_t bound = l->n_timers; bound > 0 && l->n_timers > 0; bound--) {
		struct timer *t = l->heap[1];

		if (t->at_ms > l->now_ms)
			break;
		timer_clear(l, t);
		t->fn(t->arg);
	}
}

/* ---- descriptors ---- */

uint64_t loop_token(unsigned kind, uint64_t number)
{
	return (uint64_t)kind << KIND_SHIFT | number;
}

unsigned loop_kind(uint64_t token)
{
	return (unsigned)(token >> KIND_SHIFT);
}

static int control(struct loop *l, int op, int fd, uint32_t events, uint64_t token)
{
	struct epoll_event ev = {.events = events, .data.u64 = token};

	return epoll_ctl(l->epfd, op, fd, &ev) < 0 ? -errno : 0;
}

int loop_add(struct loop *l, int fd, uint32_t events, uint64_t token)
{
	int rc = control(l, EPOLL_CTL_ADD, fd, events, token);

	if (rc == -EEXIST && events & EPOLLEXCLUSIVE) { /* which cannot be changed */
		loop_remove(l, fd);
		return control(l, EPOLL_CTL_ADD, fd, events, token);
	}
	return rc == -EEXIST ? control(l, EPOLL_CTL_MOD, fd, events, token) : rc;
}

int loop_change(struct loop *l, int fd, uint32_t events, uint64_t token)
{
	return control(l, EPOLL_CTL_MOD, fd, events, token);
}

const char *loop_error_text(int error)
{
	return error == ENOSPC ? "this user watches too many descriptors (see fs.epoll.max_user_watches)"
	                       : strerror(error);
}

void loop_remove(struct loop *l, int fd)
{
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, fd, NULL);
}

/* The place in the list where w stands, or where the list ends. */
static struct watch **find(struct loop *l, const struct watch *w)
{
	struct watch **link = &l->watches;

	while (*link && *link != w)
		link = &(*link)->next;
	return link;
}

static void watch_event(void *arg, uint64_t number, uint32_t events)
{
	struct loop *l = arg;
	struct watch *w = (struct watch *)(uintptr_t)number;

	if (l->inherited && !*find(l, w))
		return; /* a predecessor's */
	if (w->fn)
		w->fn(w->arg, events);
}

int loop_watched(struct loop *l, uint64_t token)
{
	struct watch *w = (struct watch *)(uintptr_t)(token & ((1ULL << KIND_SHIFT) - 1));

	if (loop_kind(token) != LOOP_KIND_WATCH || (l->inherited && !*find(l, w)))
		return -1;
	return w->fn ? w->fd : -1;
}

static void unlist(struct loop *l, struct watch *w)
{
	struct watch **link = find(l, w);

	if (*link)
		*link = w->next;
}

/* It may be added once more as it is; or not have been anything yet. */
static void forget_again(struct loop *l, struct watch *w)
{
	uint32_t place = w->again.place;

	if (place && place <= l->n_timers && l->heap[place] == &w->again)
		timer_clear(l, &w->again);
}

int watch_add(struct loop *l, struct watch *w, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
              void *arg)
{
	int rc;

	forget_again(l, w);
	if (l->inherited)
		unlist(l, w);
	*w = (struct watch){.fd = fd, .fn = fn, .arg = arg, .next = l->watches};
	if (l->inherited)
		l->watches = w;
	rc = loop_add(l, fd, events, loop_token(LOOP_KIND_WATCH, (uintptr_t)w));
	if (rc < 0) {
		w->fd = -1;
		if (l->inherited)
			unlist(l, w);
	}
	return rc;
}

static void keep_trying(struct loop *l, struct watch *w)
{
	timer_set(l, &w->again, l->now_ms + KEEP_MS, loop_try_again, w);
}

static void loop_try_again(void *arg)
{
	struct watch *w = arg;

	if (loop_add(w->loop, w->fd, w->events, loop_token(LOOP_KIND_WATCH, (uintptr_t)w)) < 0)
		keep_trying(w->loop, w);
	else
		w->loop->told = false;
	w->fn(w->arg, w->events); /* may have removed it when it returns */
}

void watch_keep(struct loop *l, struct watch *w, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
                void *arg)
{
	int rc = watch_add(l, w, fd, events, fn, arg);

	if (rc == 0)
		return;
	if (!l->told)
		log_error("what other processes of ours say cannot be watched: %s: looking every 0.1 s",
		          loop_error_text(-rc));
	l->told = true;
	*w = (struct watch){.fd = fd, .fn = fn, .arg = arg, .loop = l, .events = events};
	if (l->inherited) {
		w->next = l->watches;
		l->watches = w;
	}
	keep_trying(l, w);
}

int watch_change(struct loop *l, struct watch *w, uint32_t events)
{
	if (w->again.place) {
		w->events = events;
		return 0;
	}
	return loop_change(l, w->fd, events, loop_token(LOOP_KIND_WATCH, (uintptr_t)w));
}

void watch_remove(struct loop *l, struct watch *w)
{
	uint64_t token = loop_token(LOOP_KIND_WATCH, (uintptr_t)w);

	if (!w->fn || w->fd < 0)
		return;
	timer_clear(l, &w->again);
	loop_remove(l, w->fd);
	if (l->inherited)
		unlist(l, w);
	w->fd = -1;
	w->fn = NULL;
	for (int i = 0; i < l->n_events; i++)
		if (l->events[i].data.u64 == token)
			l->events[i].events = 0;
}

/* ---- the loop ---- */

int loop_init(struct loop *l, int epfd, struct epoll_event *events, int n)
{
	memset(l, 0, sizeof(*l));
	l->epfd = epfd >= 0 ? epfd : epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0)
		return -errno;
	l->own_events = !events;
	l->events = events ? events : mem_alloc((size_t)n * sizeof(*events));
	l->n_events = n;
	l->now_ms = clock_mono_ms();
	l->inherited = epfd >= 0;
	loop_handle(l, LOOP_KIND_WATCH, watch_event, l);
	return 0;
}

void loop_release(struct loop *l)
{
	if (l->own_events) {
		free(l->events);
		if (l->epfd >= 0)
			close(l->epfd);
	}
	free(l->heap);
	memset(l, 0, sizeof(*l));
	l->epfd = -1;
}

void loop_handle(struct loop *l, unsigned kind, loop_fn *fn, void *arg)
{
	CHECK(kind < LOOP_KINDS);
	l->kinds[kind].fn = fn;
	l->kinds[kind].arg = arg;
}

static void dispatch(struct loop *l, int n)
{
	for (int i = 0; i < n; i++) {
		struct epoll_event *ev = &l->events[i];
		unsigned kind = loop_kind(ev->data.u64);
		uint64_t number = ev->data.u64 & ((1ULL << KIND_SHIFT) - 1);

		if (!ev->events)
			continue;
		if (kind < LOOP_KINDS && l->kinds[kind].fn)
			l->kinds[kind].fn(l->kinds[kind].arg, number, ev->events);
		FAULT_POINT();
		ev->events = 0; /* handled: a successor need not look */
	}
}

void loop_replay(struct loop *l)
{
	dispatch(l, l->n_events);
}

static int wait_ms(const struct loop *l, int max_wait_ms)
{
	int64_t wait = max_wait_ms < 0 ? INT32_MAX : max_wait_ms;

	if (l->busy)
		return 0;
	if (l->n_timers > 0) {
		int64_t due = l->heap[1]->at_ms - l->now_ms;

		if (due < wait)
			wait = due > 0 ? due : 0;
	} else if (max_wait_ms < 0) {
		return -1;
	}
	return (int)wait;
}

/* One batch. Returns how many, -EINTR: the kernel has not looked, or another -errno. */
static int wait_for_events(struct loop *l, int ms)
{
	int64_t before_us = spin_before_wait(l);
	int n = epoll_wait(l->epfd, l->events, l->n_events, ms);

	if (n < 0)
		return -errno;
	spin_after_wait(l, before_us, n);
	return n;
}

static void handle_events(struct loop *l, int n)
{
	l->turns++;
	if (l->before && n > 0)
		l->before(l->before_arg, l->events, n);
	dispatch(l, n);
}

/* What came before a time limit counts, however late we look: we may have been stopped (SIGCONT interrupts epoll_wait()
 * before it has looked), suspended with the machine, or busy. So all that the kernel had by now_ms is handled before
 * a timer is run. The kernel hands out events in the order in which they came. */
static int catch_up(struct loop *l)
{
	for (int i = 0; i < CATCH_UP_BATCHES; i++) {
		int n = wait_for_events(l, 0);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		handle_events(l, n);
		if (n < l->n_events)
			break;
	}
	return 0;
}

static bool timer_is_due(const struct loop *l)
{
	return l->n_timers > 0 && l->heap[1]->at_ms <= l->now_ms;
}

int loop_turn(struct loop *l, int max_wait_ms)
{
	int n = wait_for_events(l, wait_ms(l, max_wait_ms));
	int rc;

	if (n < 0 && n != -EINTR)
		return n;
	l->now_ms = clock_mono_ms();
	l->busy = false;
	handle_events(l, n > 0 ? n : 0);
	rc = timer_is_due(l) ? catch_up(l) : 0;
	if (rc < 0)
		return rc;
	run_timers(l);
	if (l->after)
		l->after(l->after_arg);
	spin_after_turn(l, loop_watched);
	return 0;
}

_Noreturn void loop_failed(int rc)
{
	log_error("waiting for events: %s: nothing is served like this, so this process aborts, to be replaced",
	          strerror(-rc));
	abort();
}

void loop_run(struct loop *l)
{
	while (!l->stop) {
		int rc = loop_turn(l, -1);

		if (rc < 0)
			loop_failed(rc);
	}
}
