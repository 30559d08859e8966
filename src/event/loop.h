/*
 * loop.h - the event loop of one process: epoll, timers, deferred work.
 *
 * What epoll hands back is a token, not a pointer, because an epoll instance may outlive the
 * process that filled it (a worker's does): the token names a kind and the kind's own number, and
 * is looked up again by its reader. A watch is a token that holds a pointer: in a loop whose epoll
 * instance was another process's, even another program's, only pointers to watches that were added here
 * are followed.
 *
 * Not thread-safe. One loop per process.
 */
#ifndef EVENT_LOOP_H
#define EVENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include "event/spin.h"

#define LOOP_KINDS      8
#define LOOP_KIND_WATCH 0 /* taken by watches */

struct loop;
typedef void loop_fn(void *arg, uint64_t number, uint32_t events);

/* A timer that is asked for at an absolute monotonic time; embedded in its owner; zero it once. */
struct timer {
	int64_t at_ms;
	void (*fn)(void *arg);
	void *arg;
	uint32_t place; /* in the heap, from 1; 0: not set */
};

/* A descriptor with a function; embedded in its owner. */
struct watch {
	int fd;
	void (*fn)(void *arg, uint32_t events);
	void *arg;
	struct watch *next; /* the loop's, of an inherited epoll instance */
	struct loop *loop;  /* of one that is kept */
	struct timer again; /* set: it is kept, but cannot be watched now */
	uint32_t events;
};

struct loop {
	int epfd;
	struct epoll_event *events; /* the journal: an entry is zeroed when it was handled */
	int n_events;
	bool own_events;
	bool inherited; /* the epoll instance; then `watches` are all that there are */
	struct watch *watches;
	bool stop;
	bool told;      /* that something which is kept cannot be watched */
	int64_t now_ms; /* read once per turn */
	uint32_t turns; /* batches of events so far */
	struct {
		loop_fn *fn;
		void *arg;
	} kinds[LOOP_KINDS];
	struct timer **heap;
	uint32_t n_timers, cap_timers;
	/* once per batch of events, before they are handled; one that it zeroes is handled. NULL: none */
	void (*before)(void *arg, struct epoll_event *events, int n);
	void *before_arg;
	void (*after)(void *arg); /* once per turn, after all events; NULL: none */
	void *after_arg;
	struct spin spin;
	/* Something spins (spin.h), and this owner knows what to do about it: true. NULL, or false: the loop does what it can. */
	bool (*spins)(void *arg, uint64_t token, uint32_t events);
	void *spins_arg;
	bool busy; /* set by `after` or a handler: do not sleep in the next turn */
};

/* epfd -1: a new epoll instance. events NULL: an own array of n. Returns 0 or -errno. */
int loop_init(struct loop *l, int epfd, struct epoll_event *events, int n);
void loop_release(struct loop *l);

void loop_handle(struct loop *l, unsigned kind, loop_fn *fn, void *arg);
unsigned loop_kind(uint64_t token);
uint64_t loop_token(unsigned kind, uint64_t number); /* number < 2^56 */

/* 0 or -errno: -ENOSPC, -ENOMEM may happen at any time, and nothing would be heard of the descriptor. loop_add: one
 * that is there already is changed. */
int loop_add(struct loop *l, int fd, uint32_t events, uint64_t token);
int loop_change(struct loop *l, int fd, uint32_t events, uint64_t token);
void loop_remove(struct loop *l, int fd);

int watch_add(struct loop *l, struct watch *w, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
              void *arg);
/* For what this process cannot do without: if it cannot be watched now, it is said once, tried again each 0.1 s, and fn
 * called each time as if there were events. */
void watch_keep(struct loop *l, struct watch *w, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
                void *arg);
int watch_change(struct loop *l, struct watch *w, uint32_t events);
/* The descriptor of a watch by its token; -1: it is none of ours. */
int loop_watched(struct loop *l, uint64_t token);
/* Safe inside a handler; events of this turn that are still to come for it are dropped. fd is not
 * closed; w->fd becomes -1. Takes a watch that was never added (fd -1 or all zero). */
void watch_remove(struct loop *l, struct watch *w);

/* Why something cannot be watched (positive errno), and what to do about it. */
const char *loop_error_text(int error);

void timer_set(struct loop *l, struct timer *t, int64_t at_ms, void (*fn)(void *arg), void *arg);
void timer_clear(struct loop *l, struct timer *t);

/* Waits for and handles one batch of events and the timers that are due. Before a timer is run, all events that had come
 * by then are handled: a time limit does not strike what has happened in time. max_wait_ms -1: as long as it
 * takes. Returns 0 or -errno. */
int loop_turn(struct loop *l, int max_wait_ms);
/* Turns until l->stop. */
void loop_run(struct loop *l);
/* For a process that turns the loop itself, when a turn has failed: says so and aborts. If it returned, it would be
 * taken for one that has ended as it was told: a worker's connections would all be reset. */
_Noreturn void loop_failed(int rc);
/* Handles what a predecessor left in the journal. */
void loop_replay(struct loop *l);

#endif
