#include "proxy/dial.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "os/sock.h"

#define NEXT_ATTEMPT_MS 250 /* RFC 8305, section 8: recommended connection attempt delay */
#define BACKLOG_WAIT_MS 10  /* a Unix socket whose queue is full tells nobody when there is room */

enum { STATE_SYN_SENT = 2, STATE_CLOSE = 7 }; /* tcp_info's numbers */

static void advance(struct dial *d);

/* ---- which address comes next ---- */

/* The n-th address when families take turns, the first one's family first. */
static bool nth_address(const struct addr *addrs, size_t count, size_t n, struct addr *ret)
{
	uint16_t first = count ? addrs[0].family : AF_UNSPEC;
	size_t of_first = 0, of_other, index, seen = 0;
	bool want_first;

	for (size_t i = 0; i < count; i++)
		of_first += addrs[i].family == first;
	of_other = count - of_first;
	if (n >= count)
		return false;
	if (n / 2 < of_first && n / 2 < of_other) {
		want_first = n % 2 == 0;
		index = n / 2;
	} else { /* one family is used up */
		want_first = of_first > of_other;
		index = n - (want_first ? of_other : of_first);
	}
	for (size_t i = 0; i < count; i++)
		if ((addrs[i].family == first) == want_first && seen++ == index) {
			*ret = addrs[i];
			return true;
		}
	return false;
}

static bool next_address(struct dial *d, struct addr *ret)
{
	struct addr addrs[TARGET_ADDRS];
	size_t n = target_addrs(d->target, addrs);

	if (!nth_address(addrs, n, d->cold->dial_next, ret))
		return false;
	d->cold->dial_next++;
	ret->port = d->port;
	return true;
}

static bool more_addresses(const struct dial *d)
{
	struct addr addrs[TARGET_ADDRS];

	return !d->unix_path && d->cold->dial_next < target_addrs(d->target, addrs);
}

/* ---- attempts ---- */

static void drop(struct dial *d, enum side side)
{
	int fd = d->row->fd[side];

	if (fd < 0)
		return;
	d->row->fd[side] = -1; /* forgotten first: what nobody knows is swept */
	FAULT_POINT();
	close(fd);
}

static void finish(struct dial *d, enum dial_outcome outcome)
{
	timer_clear(d->env->loop, &d->timer);
	if (outcome != DIAL_CONNECTED) {
		drop(d, SERVER);
		drop(d, SECOND);
	}
	d->done(d->arg, outcome);
}

static void win(struct dial *d, enum side side)
{
	struct row *row = d->row;

	drop(d, side == SERVER ? SECOND : SERVER);
	if (side == SECOND) {
		/* a successor that finds it in both places knows it by its cookie */
		row->cookie[SERVER] = row->cookie[SECOND];
		FAULT_POINT();
		row->fd[SERVER] = row->fd[SECOND];
		FAULT_POINT();
		row->fd[SECOND] = -1;
		FAULT_POINT();
		loop_change(d->env->loop, row->fd[SERVER], ROW_EVENTS | EPOLLOUT,
			    row_token(d->env->trio, row, SERVER));
	}
	d->cold->server = d->addr[side - SERVER];
	finish(d, DIAL_CONNECTED);
}

static int open_socket(struct dial *d, enum side side, const struct addr *a)
{
	int fd = d->unix_path ? sock_new_unix() : sock_new_tcp(a->family);
	int rc = 0;

	FAULT_POINT();
	if (fd < 0)
		return fd;
	if (d->source->family != AF_UNSPEC && a->family == d->source->family)
		rc = sock_bind_source(fd, d->source);
	if (rc == 0)
		rc = loop_add(d->env->loop, fd, ROW_EVENTS | EPOLLOUT,
			      row_token(d->env->trio, d->row, side));
	if (rc < 0) {
		close(fd);
		return rc;
	}
	d->addr[side - SERVER] = *a;
	d->turn[side - SERVER] = d->env->loop->turns;
	FAULT_POINT();
	d->row->cookie[side] = side == SECOND ? sock_cookie(fd) : 0;
	barrier();
	FAULT_POINT();
	d->row->fd[side] = fd;
	FAULT_POINT();
	return 0;
}

static void say_attempt(const struct dial *d, const struct addr *a)
{
	char client[ADDR_TEXT_MAX], server[ADDR_TEXT_MAX];

	log_debug("connecting %s to %s", addr_format_port(&d->cold->client, client),
		  d->unix_path ? d->unix_path : addr_format_port(a, server));
}

/* Returns 0 if it is connected, -EINPROGRESS if it is under way, or another -errno. */
static int attempt(struct dial *d, enum side side)
{
	struct addr a = {.family = AF_UNIX};
	int rc;

	if (!d->unix_path && !next_address(d, &a)) {
		if (!d->error)
			d->error = EDESTADDRREQ; /* a name without an address of a kind that we know */
		return -EDESTADDRREQ;
	}
	if (log_wants(LOG_LEVEL_DEBUG))
		say_attempt(d, &a);
	rc = open_socket(d, side, &a);
	if (rc == 0)
		rc = d->unix_path ? sock_connect_unix(d->row->fd[side], d->unix_path)
				  : sock_connect(d->row->fd[side], &a);
	FAULT_POINT();
	if (rc < 0 && rc != -EINPROGRESS) {
		d->error = -rc;
		drop(d, side);
	}
	return rc;
}

static void timed_out(void *arg)
{
	struct dial *d = arg;

	if (d->deadline_ms && d->env->loop->now_ms >= d->deadline_ms) {
		d->error = ETIMEDOUT;
		finish(d, DIAL_TIMEOUT);
		return;
	}
	advance(d);
}

static void plan(struct dial *d)
{
	int64_t at = d->deadline_ms;
	bool room = d->row->fd[SERVER] < 0 || d->row->fd[SECOND] < 0;

	if (room && d->next_at_ms && (!at || d->next_at_ms < at))
		at = d->next_at_ms;
	if (at)
		timer_set(d->env->loop, &d->timer, at, timed_out, d);
	else
		timer_clear(d->env->loop, &d->timer);
}

/* Starts attempts until one is connected, two are under way, the next is not due, or none is left. */
static void advance(struct dial *d)
{
	int64_t now = d->env->loop->now_ms;

	for (;;) {
		enum side side = d->row->fd[SERVER] < 0 ? SERVER : SECOND;
		bool alone = d->row->fd[SERVER] < 0 && d->row->fd[SECOND] < 0;
		int rc;

		if (d->row->fd[side] >= 0 || (!alone && now < d->next_at_ms))
			break;
		rc = attempt(d, side);
		if (rc == 0) {
			win(d, side);
			return;
		}
		if (rc == -EINPROGRESS) {
			d->next_at_ms = more_addresses(d) ? now + NEXT_ATTEMPT_MS : 0;
			if (!d->next_at_ms)
				break;
			continue;
		}
		if (rc == -EAGAIN && d->unix_path) {
			d->next_at_ms = now + BACKLOG_WAIT_MS;
			break;
		}
		if (!more_addresses(d)) {
			d->next_at_ms = 0;
			if (alone) {
				finish(d, DIAL_FAILED);
				return;
			}
			break;
		}
	}
	plan(d);
}

/* What both kinds of a beginning have in common. */
static void init(struct dial *d, struct step_env *env, struct row *row, struct row_cold *cold,
		 void (*done)(void *arg, enum dial_outcome outcome), void *arg)
{
	d->env = env;
	d->row = row;
	d->cold = cold;
	d->done = done;
	d->arg = arg;
	d->next_at_ms = 0;
	d->seen = 0;
}

void dial_start(struct dial *d, struct step_env *env, struct row *row, struct row_cold *cold,
		void (*done)(void *arg, enum dial_outcome outcome), void *arg)
{
	init(d, env, row, cold, done, arg);
	cold->dial_next = 0;
	cold->dial_deadline_ms = d->deadline_ms;
	d->error = 0;
	FAULT_POINT();
	row->state = ROW_CONNECTING;
	FAULT_POINT();
	advance(d);
}

/* How does an attempt stand? 0: connected, -EINPROGRESS, or why it failed. A server may have accepted,
 * answered and gone before we look: that the SYN was acknowledged says that it was there. */
static int look(int fd, bool is_unix)
{
	struct tcp_facts facts;
	int error;

	if (is_unix || sock_facts(fd, &facts) < 0)
		return -sock_take_error(fd);
	if (facts.state == STATE_SYN_SENT)
		return -EINPROGRESS;
	if (facts.state != STATE_CLOSE || facts.bytes_acked > 0)
		return 0;
	error = sock_take_error(fd);
	return error ? -error : -ECONNREFUSED;
}

void dial_event(struct dial *d, enum side side, uint32_t events)
{
	int rc = 0;

	if (side == CLIENT || d->row->fd[side] < 0)
		return;
	/* writable and no error: connected, if this event is not one of an earlier attempt */
	if (!(events & EPOLLOUT) || events & (EPOLLERR | EPOLLHUP) ||
	    d->turn[side - SERVER] == d->env->loop->turns)
		rc = look(d->row->fd[side], d->unix_path);
	FAULT_POINT();
	if (rc == 0) {
		d->seen = events;
		win(d, side);
	} else if (rc != -EINPROGRESS) {
		d->error = -rc;
		drop(d, side);
		d->next_at_ms = 0; /* the next one at once */
		if (d->row->fd[SERVER] < 0 && d->row->fd[SECOND] < 0 && !more_addresses(d))
			finish(d, DIAL_FAILED);
		else
			advance(d);
	}
}

void dial_cancel(struct dial *d)
{
	timer_clear(d->env->loop, &d->timer);
	drop(d, SERVER);
	drop(d, SECOND);
}

/* An attempt of a predecessor: connected, under way, or of no use. */
static int look_at_old(struct dial *d, enum side side)
{
	int fd = d->row->fd[side];
	struct addr *a = &d->addr[side - SERVER];

	*a = (struct addr){.family = AF_UNIX};
	d->turn[side - SERVER] = d->env->loop->turns;
	if (d->unix_path) /* its peer is known once it is connected */
		return sock_peer(fd, &(struct addr){0});
	if (sock_peer(fd, a) < 0)
		a->family = AF_UNSPEC;
	return look(fd, false);
}

void dial_resume(struct dial *d, struct step_env *env, struct row *row, struct row_cold *cold,
		 void (*done)(void *arg, enum dial_outcome outcome), void *arg)
{
	init(d, env, row, cold, done, arg);
	d->deadline_ms = cold->dial_deadline_ms;
	for (enum side side = SERVER; side <= SECOND; side++) {
		int rc = row->fd[side] < 0 ? -EBADF : look_at_old(d, side);

		if (rc == 0) {
			d->seen = PERHAPS_EVENTS;
			win(d, side);
			return;
		}
		if (rc != -EINPROGRESS)
			drop(d, side);
	}
	/* whether an address that is no longer being tried had failed is not known: from the beginning */
	if (row->fd[SERVER] < 0 && row->fd[SECOND] < 0)
		cold->dial_next = 0;
	advance(d);
}
