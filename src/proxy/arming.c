/*
 * arming.c - no more than this worker's share.
 *
 * All workers hold the same listening sockets. epoll wakes the one that was added last, again and
 * again, so each takes itself out ("disarms") while it has clearly more connections than the others,
 * and tells those that are out when it does.
 *
 * A port may refuse its clients for a while (checker/ports.h). Its socket does not listen then, and epoll says so in each turn: it is
 * taken out, and looked at until it listens again; who has it listen wakes us, too.
 */
#include "proxy/arming.h"

#include <errno.h>
#include <unistd.h>
#include "base/log.h"
#include "os/sock.h"
#include "proxy/engine.h"

#define ARMING_SLACK    8    /* connections more than the share that are not worth a call */
#define ARMING_PAUSE_MS 100  /* no descriptors: look again */
#define REARM_MS        1000 /* disarmed, or a port refuses: look again, even if nobody said so */

bool arming_more_than_share(struct engine *e)
{
	uint32_t n = atomic_load_explicit(&e->world->n_workers, memory_order_relaxed);
	uint64_t mine = engine_live(e), all = 0;

	if (n < 2)
		return false;
	for (uint32_t i = 0; i < n && i < WORLD_WORKERS; i++)
		all += atomic_load_explicit(&e->world->live[i], memory_order_relaxed);
	return (mine - (mine > ARMING_SLACK ? ARMING_SLACK : mine)) * n * 8 > all * 9;
}

/* -errno: it is deaf for now. */
int arming_set(struct engine *e, struct listener *l, bool armed)
{
	int rc = 0;

	if (l->armed == armed)
		return 0;
	if (armed)
		rc = loop_add(&e->loop, l->fd, EPOLLIN | EPOLLEXCLUSIVE,
		              loop_token(LOOP_KIND_LISTENER, (uint64_t)(l - e->listeners)));
	else
		loop_remove(&e->loop, l->fd);
	l->armed = armed && rc == 0;
	return rc;
}

static void say_deaf(struct engine *e, int error)
{
	if (error && !e->deaf)
		log_error("accepting connections: a listening socket cannot be watched: %s: trying again every 0.1 s",
		          loop_error_text(-error));
	else if (!error && e->deaf)
		log_info("accepting connections: all listening sockets are watched again");
	e->deaf = error != 0;
}

/* The workers that are out may be the ones with the least now. And a client for which only we were woken
 * (EPOLLEXCLUSIVE) is theirs. */
static void wake_others(struct engine *e)
{
	for (uint32_t i = 0; i < e->setup.n_trios; i++)
		if (i != e->limits.own && write(e->setup.rearm_fds[i], &(uint64_t){1}, sizeof(uint64_t)) < 0)
			errno = 0; /* it looks by itself after a second */
}

static void arming_tick(void *arg)
{
	struct engine *e = arg;

	e->paused = false;
	engine_balance(e);
}

static void look_again(struct engine *e, bool out, bool soon)
{
	if (e->want_accept && (out || soon || e->n_hung_up > 0))
		timer_set(&e->loop, &e->rearm_timer, e->loop.now_ms + (soon ? ARMING_PAUSE_MS : REARM_MS), arming_tick,
		          e);
}

/* Only those of which it is known are asked. */
static bool still_hung_up(struct engine *e, struct listener *l)
{
	if (l->hung_up && sock_is_listening(l->fd)) {
		l->hung_up = false;
		e->n_hung_up--;
	}
	return l->hung_up;
}

bool arming_hung_up(struct engine *e, struct listener *l)
{
	if (sock_is_listening(l->fd))
		return false;
	arming_set(e, l, false);
	e->n_hung_up += !l->hung_up;
	l->hung_up = true;
	look_again(e, false, false);
	return true;
}

void engine_balance(struct engine *e)
{
	bool out = e->want_accept && arming_more_than_share(e);
	bool armed = e->want_accept && !e->paused && !out && engine_free_rows(e) > 0;
	bool leaves = false;
	int error = 0;

	for (uint32_t i = 0; i < e->n_listeners; i++) {
		struct listener *l = &e->listeners[i];
		int rc;

		if (l->fd < 0 || still_hung_up(e, l))
			continue;
		leaves = leaves || (l->armed && !armed);
		rc = arming_set(e, l, armed);
		error = rc ? rc : error;
	}
	if (armed)
		say_deaf(e, error);
	atomic_store(&e->world->disarmed[e->limits.own], out || error);
	if (leaves)
		wake_others(e);
	look_again(e, out, e->paused || error);
}
