/* listener.c - accepting, in bounded batches. */
#include <errno.h>
#include <inttypes.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/progress.h"
#include "os/sock.h"
#include "proxy/arming.h"
#include "proxy/session.h"
#include "takeover/row_state.h"

#define BATCH 16 /* accepts in one event: small enough to leave some for the others */

static void say_accepted(const struct row_cold *cold)
{
	char client[ADDR_TEXT_MAX], local[ADDR_TEXT_MAX];

	log_debug("accepted %s at %s, id=%" PRIu64, addr_format_port(&cold->client, client),
	          addr_format_port(&cold->local, local), cold->id);
}

/* What TCP counts of a connection is not what MPTCP has delivered: it is relayed as one of Unix is. */
static bool speaks_mptcp(const struct engine *e, int fd)
{
	return e->mptcp && sock_is_mptcp(fd);
}

bool engine_serve(struct engine *e, int fd, const struct addr *local, const struct addr *client,
                  const struct section *section)
{
	struct session *s;
	struct row *row;
	uint32_t i;

	ruleset_look_at_zones(e->rules, fd, local, client);
	if (!section)
		section = ruleset_find(e->rules, local);
	if (!section || !engine_take_row(e, &i)) {
		sock_reset_on_close(fd);
		close(fd);
		return false;
	}
	row = trio_row(e->env.trio, i);
	s = &e->sessions[i];
	*s = (struct session){
	        .engine = e, .row = row, .cold = trio_cold(e->env.trio, i), .index = i, .queued = s->queued};
	s->cold->id = atomic_fetch_add_explicit(&e->world->next_id, 1, memory_order_relaxed);
	s->cold->accepted_wall_us = clock_wall_us();
	s->cold->accepted_us = clock_mono_us();
	s->cold->client = *client;
	s->cold->local = *local;
	if ((client->family != AF_INET && client->family != AF_INET6) || speaks_mptcp(e, fd))
		row->flags |= ROWFLAG_CLIENT_UNIX;
	row->active_ms = e->loop.now_ms;
	FAULT_POINT();
	row->fd[CLIENT] = fd;
	row_set_state(row, ROW_ACCEPTED);
	if (log_wants(LOG_LEVEL_DEBUG))
		say_accepted(s->cold);
	session_start(s, section);
	return true;
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
		log_error("accepting connections: %s: waiting until some have ended", sock_shortage_text(error));
	e->paused_told = true;
	e->paused = true;
	engine_balance(e);
}

/* NULL: it is for no service of the present configuration. */
static const struct service *service_at(const struct engine *e, uint32_t place)
{
	for (size_t i = 0; e->rules && i < e->rules->config->n_services; i++)
		if (e->rules->config->services[i].place == place)
			return &e->rules->config->services[i];
	return NULL;
}

/* Where it wanted to go; where that is not known, it has come to us. */
static void look_at_original(const struct engine *e, int fd, uint32_t place, struct addr *local)
{
	const struct service *service = service_at(e, place);
	struct addr original;

	if (service && service->intercept == INTERCEPT_REDIRECT &&
	    sock_original(fd, local->family == AF_INET6, &original) == 0)
		*local = original;
}

/* What accept() has not told. */
static int look_at(const struct engine *e, int fd, uint32_t place, struct addr *local, struct addr *client)
{
	int rc = 0;

	if (addr_is_wildcard(local))
		rc = sock_local(fd, local);
	else if (local->family == AF_UNIX)
		rc = sock_unix_peer(fd, client);
	if (place && rc == 0)
		look_at_original(e, fd, place, local);
	if (place)
		local->scope = place;
	return rc;
}

static void serve(struct engine *e, const struct listener *l, int fd, struct addr *client)
{
	struct addr local = l->local;

	if (look_at(e, fd, addr_place(&l->local), &local, client) < 0)
		close(fd);
	else
		engine_serve(e, fd, &local, client, NULL);
}

/* Of several services that intercept, to which has it come? To the one that catches such; the socket tells no more. */
static uint32_t intercepted_at(const struct engine *e, uint32_t place, const struct addr *local,
                               const struct addr *client)
{
	const struct service *found = service_at(e, place);

	if (!place || !found || found->intercept != INTERCEPT_TPROXY || service_intercepts(found, client, local->port))
		return place;
	for (size_t i = 0; i < e->rules->config->n_services; i++) {
		const struct service *s = &e->rules->config->services[i];

		if (s->intercept == INTERCEPT_TPROXY && service_intercepts(s, client, local->port))
			return s->place;
	}
	return place;
}

bool engine_serve_accepted(struct engine *e, int fd, uint32_t place)
{
	struct addr local, client;

	if (sock_local(fd, &local) < 0 || sock_peer(fd, &client) < 0)
		return false;
	place = intercepted_at(e, place, &local, &client);
	if (look_at(e, fd, place, &local, &client) < 0)
		return false;
	engine_serve(e, fd, &local, &client, NULL);
	return true;
}

/* Returns false if there is nothing more to accept now. */
static bool accept_one(struct engine *e, const struct listener *l)
{
	struct addr client;
	int fd = sock_accept(l->fd, &client);

	FAULT_POINT();
	if (fd >= 0) {
		serve(e, l, fd, &client);
		return true;
	}
	if (sock_is_shortage(-fd)) {
		pause_accepting(e, -fd);
		return false;
	}
	switch (-fd) {
	case EAGAIN:
		e->paused_told = false;
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

static void listener_listener_event(void *arg, uint64_t number, uint32_t events)
{
	struct engine *e = arg;
	struct listener *l;
	int batch;

	if (number >= e->n_listeners)
		return;
	l = &e->listeners[number];
	if (events & EPOLLHUP && l->fd >= 0 && arming_hung_up(e, l))
		return;
	/* One, so as not to be told that there are no more; many if they keep coming. */
	batch = l->turn + 1 == e->loop.turns ? BATCH : 1;
	l->turn = e->loop.turns;
	for (int n = 0; n < batch && l->fd >= 0 && l->armed; n++) {
		if (engine_free_rows(e) == 0 || arming_more_than_share(e)) {
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
	progress();
	e->waiting.wanted = true; /* a place was freed, perhaps */
	engine_balance(e);
	/* the worker that went out had been woken in our place */
	for (uint32_t i = 0; i < e->n_listeners; i++)
		if (e->listeners[i].fd >= 0 && e->listeners[i].armed)
			listener_listener_event(e, i, EPOLLIN);
}

void engine_accept(struct engine *e, bool want)
{
	int rearm_fd = e->setup.rearm_fds ? e->setup.rearm_fds[e->limits.own] : -1;

	loop_handle(&e->loop, LOOP_KIND_LISTENER, listener_listener_event, e);
	if (want && rearm_fd >= 0 && e->rearm_watch.fd < 0)
		watch_keep(&e->loop, &e->rearm_watch, rearm_fd, EPOLLIN, rearm_event, e);
	e->want_accept = want;
	engine_balance(e);
}

int engine_add_listener(struct engine *e, uint32_t slot, uint32_t id, uint32_t place, int fd)
{
	if (slot >= TRIO_LISTENERS)
		return -ENOSPC;
	while (e->n_listeners <= slot)
		e->listeners[e->n_listeners++].fd = -1;
	e->listeners[slot] = (struct listener){.id = id, .fd = fd, .mptcp = sock_is_mptcp(fd)};
	if (sock_local(fd, &e->listeners[slot].local) < 0)
		e->listeners[slot].local = (struct addr){.family = AF_INET};
	if (place) {
		e->listeners[slot].local.scope = place;
		e->has_places = true;
	}
	e->mptcp |= e->listeners[slot].mptcp;
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
		arming_set(e, l, false);
		e->n_hung_up -= l->hung_up;
		/* clients in its queue were promised service */
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
