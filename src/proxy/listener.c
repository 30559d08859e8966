/*
 * listener.c - accepting, in bounded batches, no more than this worker's share.
 *
 * All workers hold the same listening sockets. epoll wakes the one that was added last, again and
 * again, so each takes itself out ("disarms") while it has clearly more connections than the others,
 * and tells those that are out when it does.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "os/sock.h"
#include "proxy/engine.h"

#define BATCH          16   /* accepts in one event: small enough to leave some for the others */
#define SLACK          8    /* connections more than the share that are not worth a call */
#define PAUSE_MS       100  /* no descriptors: look again */
#define REARM_MS       1000 /* disarmed: look again, whoever forgot to tell */

static bool more_than_share(struct engine *e)
{
	uint32_t n = atomic_load_explicit(&e->world->n_workers, memory_order_relaxed);
	uint64_t mine = engine_live(e), all = 0;

	if (n < 2)
		return false;
	for (uint32_t i = 0; i < n && i < WORLD_WORKERS; i++)
		all += atomic_load_explicit(&e->world->live[i], memory_order_relaxed);
	return (mine - (mine > SLACK ? SLACK : mine)) * n * 8 > all * 9;
}

static void set_armed(struct engine *e, struct listener *l, bool armed)
{
	if (l->armed == armed)
		return;
	l->armed = armed;
	if (!armed)
		loop_remove(&e->loop, l->fd);
	else if (loop_add(&e->loop, l->fd, EPOLLIN | EPOLLEXCLUSIVE,
			  loop_token(LOOP_KIND_LISTENER, (uint64_t)(l - e->listeners))) < 0)
		l->armed = false;
}

/* Those who are out may be the ones with the least now. And a client for whom we were woken, and nobody else was
 * (EPOLLEXCLUSIVE), is theirs. */
static void wake_others(struct engine *e)
{
	for (uint32_t i = 0; i < e->setup.n_trios; i++)
		if (i != e->limits.own &&
		    write(e->setup.rearm_fds[i], &(uint64_t){1}, sizeof(uint64_t)) < 0)
			errno = 0; /* it looks by itself after a second */
}

static void rearm_tick(void *arg)
{
	struct engine *e = arg;

	e->paused = false;
	engine_balance(e);
}

void engine_balance(struct engine *e)
{
	bool out = e->want_accept && more_than_share(e);
	bool armed = e->want_accept && !e->paused && !out && engine_free_rows(e) > 0;
	bool leaves = false;

	for (uint32_t i = 0; i < e->n_listeners; i++)
		if (e->listeners[i].fd >= 0) {
			leaves = leaves || (e->listeners[i].armed && !armed);
			set_armed(e, &e->listeners[i], armed);
		}
	atomic_store(&e->world->disarmed[e->limits.own], out);
	if (leaves)
		wake_others(e);
	if (e->want_accept && (out || e->paused))
		timer_set(&e->loop, &e->rearm_timer,
			  e->loop.now_ms + (e->paused ? PAUSE_MS : REARM_MS), rearm_tick, e);
}

static void say_full(struct engine *e)
{
	if (!e->paused_told)
		log_error("accepting connections: all %u places of this worker are taken, three descriptors each (see "
			  "LimitNOFILE, ulimit -n): clients wait until some have ended",
			  e->env.trio->n_rows);
	e->paused_told = true;
}

/* Out of descriptors or memory: the clients wait in the queue, and we do not spin. */
static void pause_accepting(struct engine *e, int error)
{
	if (!e->paused_told)
		log_error("accepting connections: %s: waiting until some have ended",
			  error == ENFILE   ? "the system has no descriptors left"
			  : error == EMFILE ? "no descriptors left (see LimitNOFILE, ulimit -n)"
					    : "no memory");
	e->paused_told = true;
	e->paused = true;
	engine_balance(e);
}

/* Returns false if there is nothing more to accept now. */
static bool accept_one(struct engine *e, const struct listener *l)
{
	struct addr local = l->local, client;
	int fd = sock_accept(l->fd, &client);

	FAULT_POINT();
	if (fd >= 0) {
		if (addr_is_wildcard(&local) && sock_local(fd, &local) < 0)
			close(fd);
		else
			engine_serve(e, fd, &local, &client, NULL);
		return true;
	}
	switch (-fd) {
	case EAGAIN:
		e->paused_told = false;
		return false;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		pause_accepting(e, -fd);
		return false;
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
		return true; /* that one is gone; there may be others */
	default:
		/* accept() passes on errors of the network of that one connection (accept(2)) */
		return -fd != EBADF && -fd != EINVAL && -fd != ENOTSOCK;
	}
}

static void listener_event(void *arg, uint64_t number, uint32_t events)
{
	struct engine *e = arg;
	struct listener *l;
	int batch;

	if (number >= e->n_listeners)
		return;
	l = &e->listeners[number];
	/* One, so as not to be told that there are no more; many if they keep coming. */
	batch = l->turn + 1 == e->loop.turns ? BATCH : 1;
	l->turn = e->loop.turns;
	for (int n = 0; n < batch && l->fd >= 0 && l->armed; n++) {
		if (engine_free_rows(e) == 0 || more_than_share(e)) {
			if (engine_free_rows(e) == 0)
				say_full(e);
			engine_balance(e);
			return;
		}
		if (!accept_one(e, l))
			return;
	}
}

static void rearm_event(void *arg, uint32_t events)
{
	struct engine *e = arg;
	uint64_t count;

	if (read(e->rearm_watch.fd, &count, sizeof(count)) < 0)
		return;
	engine_balance(e);
	/* who left had been woken in our place */
	for (uint32_t i = 0; i < e->n_listeners; i++)
		if (e->listeners[i].fd >= 0 && e->listeners[i].armed)
			listener_event(e, i, EPOLLIN);
}

void engine_accept(struct engine *e, bool want)
{
	int rearm_fd = e->setup.rearm_fds ? e->setup.rearm_fds[e->limits.own] : -1;

	loop_handle(&e->loop, LOOP_KIND_LISTENER, listener_event, e);
	if (want && rearm_fd >= 0 && e->rearm_watch.fd < 0)
		watch_add(&e->loop, &e->rearm_watch, rearm_fd, EPOLLIN, rearm_event, e);
	e->want_accept = want;
	engine_balance(e);
}

int engine_add_listener(struct engine *e, uint32_t slot, uint32_t id, int fd)
{
	if (slot >= TRIO_LISTENERS)
		return -ENOSPC;
	while (e->n_listeners <= slot)
		e->listeners[e->n_listeners++].fd = -1;
	e->listeners[slot] = (struct listener){.id = id, .fd = fd};
	if (sock_local(fd, &e->listeners[slot].local) < 0)
		e->listeners[slot].local = (struct addr){.family = AF_INET};
	loop_remove(&e->loop, fd); /* a predecessor may have had it armed */
	engine_balance(e);
	return 0;
}

void engine_drop_listener(struct engine *e, uint32_t id)
{
	for (uint32_t i = 0; i < e->n_listeners; i++) {
		struct listener *l = &e->listeners[i];

		if (l->fd < 0 || l->id != id)
			continue;
		set_armed(e, l, false);
		/* whoever is in its queue was promised to be served */
		while (engine_free_rows(e) > 0 && accept_one(e, l))
			;
		/* forget first, close later: its number may be a connection's as soon as it is free */
		FAULT_POINT();
		atomic_store(&e->env.trio->listeners[i].id, 0);
		FAULT_POINT();
		close(l->fd);
		l->fd = -1;
	}
}
