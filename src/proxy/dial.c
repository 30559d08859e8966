#include "proxy/dial.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "os/sock.h"
#include "proxy/as_client.h"
#include "takeover/row_state.h"

#define NEXT_ATTEMPT_MS 250  /* RFC 8305, section 8: recommended connection attempt delay */
#define MORE_WAIT_MS    3000 /* for addresses that the name may have yet: time for a question that is asked again */
#define MORE_LOOK_MS    50
/* A Unix socket whose queue is full does not tell when there is room; nor does anybody tell that there are blank sockets again, of which
 * more are made within less. */
#define LITTLE_WAIT_MS 10

enum { STATE_SYN_SENT = 2, STATE_CLOSE = 7 }; /* tcp_info's numbers */

static void advance(struct dial *d);

/* ---- which address comes next ---- */

/* The n-th of this family. */
static bool nth_address(const struct addr *addrs, size_t count, uint16_t family, size_t n, struct addr *ret)
{
	for (size_t i = 0; i < count; i++)
		if (addrs[i].family == family && n-- == 0) {
			*ret = addrs[i];
			return true;
		}
	return false;
}

/* Families take turns, the first address's family first; one that is used up is passed over. Each is counted by itself,
 * because addresses of the other may still come. */
static bool find_next(const struct dial *d, struct addr *ret, bool *six)
{
	static const uint16_t families[] = {AF_INET, AF_INET6};
	const uint8_t *tried = d->cold->dial_tried;
	struct addr addrs[TARGET_ADDRS];
	size_t n = d->original ? 1 : target_addrs(d->target, addrs);

	if (d->original) {
		addrs[0] = *d->original;
		addrs[0].scope = 0; /* of where it has come to us */
	}
	*six = n > 0 && addrs[0].family == AF_INET6;
	if (tried[*six] > tried[!*six])
		*six = !*six;
	if (nth_address(addrs, n, families[*six], tried[*six], ret))
		return true;
	*six = !*six;
	return nth_address(addrs, n, families[*six], tried[*six], ret);
}

static bool next_address(struct dial *d, struct addr *ret)
{
	bool six;

	if (!find_next(d, ret, &six))
		return false;
	d->cold->dial_tried[six]++;
	ret->port = d->port;
	return true;
}

/* It was not tried. */
static void put_back_address(struct dial *d, const struct addr *a)
{
	if (!d->unix_path)
		d->cold->dial_tried[a->family == AF_INET6]--;
}

static bool more_addresses(const struct dial *d)
{
	struct addr next;
	bool six;

	return !d->unix_path && find_next(d, &next, &six);
}

static bool more_may_come(const struct dial *d)
{
	return !d->unix_path && atomic_load(&d->target->state) == TARGET_PARTIAL;
}

/* ---- attempts ---- */

static void drop(struct dial *d, enum side side)
{
	int fd = d->row->fd[side];

	if (fd < 0)
		return;
	d->row->fd[side] = -1; /* forgotten first: what is recorded nowhere is swept */
	FAULT_POINT();
	close(fd);
}

/* connect() may choose the very port that it calls as its own, if nobody listens there and the kernel gives such ports
 * to callers: then TCP connects the socket to itself, and the client would get its own bytes back. That counts as
 * refused. */
static bool is_itself(const struct dial *d, enum side side)
{
	int fd = d->row->fd[side];
	struct addr local, peer;

	if (d->unix_path || sock_local(fd, &local) < 0 || local.port != d->port || sock_peer(fd, &peer) < 0 ||
	    local.port != peer.port || !addr_same_host(&local, &peer))
		return false;
	sock_reset_on_close(fd); /* nothing of it may keep the server from its port */
	return true;
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

/* Not only the attempt that has called last: the one that is connected. */
static void tell_winner(struct dial *d, enum side side)
{
	if (d->called && !d->unix_path && d->told != side)
		d->called(d->arg, d->row->fd[side], &d->addr[side - SERVER]);
}

static void win(struct dial *d, enum side side)
{
	struct row *row = d->row;
	int rc = 0;

	drop(d, side == SERVER ? SECOND : SERVER);
	if (d->addr[side - SERVER].family == AF_UNSPEC) /* a predecessor's: its peer is known only now */
		sock_peer(row->fd[side], &d->addr[side - SERVER]);
	tell_winner(d, side);
	if (side == SECOND) {
		/* a successor that finds it in both places knows it by its cookie */
		row->cookie[SERVER] = row->cookie[SECOND];
		FAULT_POINT();
		row->fd[SERVER] = row->fd[SECOND];
		FAULT_POINT();
		row->fd[SECOND] = -1;
		FAULT_POINT();
		rc = loop_change(d->env->loop, row->fd[SERVER], ROW_EVENTS | EPOLLOUT,
		                 row_token(d->env->trio, row, SERVER));
	}
	if (rc < 0) {
		d->error = -rc;
		finish(d, DIAL_FAILED);
		return;
	}
	d->cold->server = d->addr[side - SERVER];
	finish(d, DIAL_CONNECTED);
}

/* The interface after the % of an address: another one may have its name by now. */
static int find_zone(struct dial *d, int fd, const char *zone, struct addr *a)
{
	int index = zone ? sock_interface_index(fd, zone) : 0;

	if (index > 0)
		a->scope = (uint32_t)index;
	if (index < 0)
		d->missing = zone;
	return index < 0 ? index : 0;
}

static int bind_source(struct dial *d, int fd)
{
	struct addr source = *d->source;
	int rc = find_zone(d, fd, d->source_zone, &source);

	return rc < 0 ? rc : sock_bind_source(fd, &source);
}

/* From which address it calls, and by what socket. */
static int new_socket(struct dial *d, const struct addr *a)
{
	int fd, rc;

	if (d->unix_path)
		return sock_new_unix();
	d->as_client = d->client && as_client_may(d->env, d->client, a);
	if (d->as_client) {
		fd = as_client_open(d->env, d->client, d->client_port, &d->marks, a, &d->source_refused);
		d->none_yet = fd == -EAGAIN;
		return fd;
	}
	fd = d->marks.own || d->marks.netns ? as_ourselves_open(d->env, &d->marks, a)
	     : d->mptcp                     ? sock_new_mptcp(a->family)
	                                    : sock_new_tcp(a->family);
	d->none_yet = (d->marks.own || d->marks.netns) && fd == -EAGAIN;
	if (fd < 0 || d->source->family != a->family)
		return fd;
	rc = bind_source(d, fd);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/* What its packets are like. */
static int dress(struct dial *d, int fd)
{
	int rc = d->device ? sock_device(fd, d->device) : 0;

	if (rc == -ENODEV)
		d->missing = d->device;
	if (rc == 0 && d->dscp)
		sock_dscp(fd, d->dscp - 1u);
	return rc;
}

static int open_socket(struct dial *d, enum side side, struct addr *a)
{
	int fd, rc;

	d->missing = NULL;
	d->as_client = d->source_refused = d->none_yet = false;
	fd = new_socket(d, a);
	FAULT_POINT();
	if (fd < 0)
		return fd;
	rc = d->unix_path ? 0 : dress(d, fd);
	if (rc == 0)
		rc = find_zone(d, fd, d->zone, a);
	if (rc == 0)
		rc = loop_add(d->env->loop, fd, ROW_EVENTS | EPOLLOUT, row_token(d->env->trio, d->row, side));
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

	log_debug("connecting %s to %s, id=%" PRIu64, addr_format_port(&d->cold->client, client),
	          d->unix_path ? d->unix_path : addr_format_port(a, server), d->cold->id);
}

static int call(struct dial *d, enum side side, const struct addr *a)
{
	int fd = d->row->fd[side], rc;
	bool under_way;

	if (d->unix_path)
		return sock_connect_unix(fd, d->unix_path);
	if (d->calling)
		d->calling(d->arg, a);
	FAULT_POINT();
	rc = sock_connect(fd, a);
	under_way = rc == 0 || rc == -EINPROGRESS;
	FAULT_POINT();
	if (d->called)
		d->called(d->arg, under_way ? fd : -1, a);
	d->told = under_way ? side : CLIENT;
	return rc;
}

static int open_and_call(struct dial *d, enum side side, struct addr *a)
{
	int rc = open_socket(d, side, a);

	d->cold->server.scope = a->scope; /* its interface may be another one by now */
	return rc == 0 ? call(d, side, a) : rc;
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
	d->cold->server = a; /* also if this fails: the record says which was tried last */
	if (log_wants(LOG_LEVEL_DEBUG))
		say_attempt(d, &a);
	rc = open_and_call(d, side, &a);
	if (rc == -EADDRNOTAVAIL && d->as_client && d->client_port) {
		/* bound to it we are, but the last connection from there to that server has not ended yet */
		drop(d, side);
		d->client_port = false;
		rc = open_and_call(d, side, &a);
	}
	if (rc == 0 && is_itself(d, side))
		rc = -ECONNREFUSED;
	FAULT_POINT();
	if (d->none_yet) {
		put_back_address(d, &a);
	} else if (rc < 0 && rc != -EINPROGRESS) {
		d->error = -rc;
		drop(d, side);
	}
	return rc;
}

static void timed_out(void *arg)
{
	struct dial *d = arg;

	bool waiting = d->patience_ms && d->row->fd[SERVER] < 0 && d->row->fd[SECOND] < 0;

	if (!d->deadline_ms || d->env->loop->now_ms < d->deadline_ms) {
		advance(d);
	} else if (waiting) {
		finish(d, DIAL_FAILED); /* as all have failed that there are */
	} else {
		d->error = ETIMEDOUT;
		finish(d, DIAL_TIMEOUT);
	}
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

/* All that is known has failed; what is still being asked for is waited for a moment. false: there is nothing to wait for. */
static bool wait_for_more(struct dial *d)
{
	int64_t now = d->env->loop->now_ms;

	if (!more_may_come(d))
		return false;
	if (!d->patience_ms)
		d->patience_ms = now + MORE_WAIT_MS;
	d->next_at_ms = now + MORE_LOOK_MS;
	return now < d->patience_ms;
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
		if (!alone && !more_addresses(d)) {
			d->next_at_ms = more_may_come(d) ? now + NEXT_ATTEMPT_MS : 0;
			break;
		}
		rc = attempt(d, side);
		if (rc == 0) {
			win(d, side);
			return;
		}
		if (rc == -EINPROGRESS) {
			d->next_at_ms = more_addresses(d) || more_may_come(d) ? now + NEXT_ATTEMPT_MS : 0;
			if (!d->next_at_ms)
				break;
			continue;
		}
		if (d->none_yet || (rc == -EAGAIN && d->unix_path)) {
			d->next_at_ms = now + LITTLE_WAIT_MS;
			break;
		}
		if (alone && !more_addresses(d)) {
			if (wait_for_more(d))
				break;
			finish(d, DIAL_FAILED);
			return;
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
	d->next_at_ms = d->patience_ms = 0;
	d->seen = 0;
	d->missing = NULL;
	d->told = CLIENT;
}

void dial_start(struct dial *d, struct step_env *env, struct row *row, struct row_cold *cold,
                void (*done)(void *arg, enum dial_outcome outcome), void *arg)
{
	init(d, env, row, cold, done, arg);
	memset(cold->dial_tried, 0, sizeof(cold->dial_tried));
	cold->dial_deadline_ms = d->deadline_ms;
	d->error = 0;
	row_set_state(row, ROW_CONNECTING);
	advance(d);
}

/* How does an attempt stand? 0: connected, -EINPROGRESS, or why it failed. A server may have accepted,
 * answered and gone before we look: that the SYN was acknowledged says that it was there. */
static int dial_look(int fd, bool is_unix)
{
	struct sock_tcp_info info;
	int error;

	if (is_unix || sock_tcp_info(fd, &info) < 0)
		return -sock_take_error(fd);
	if (info.state == STATE_SYN_SENT)
		return -EINPROGRESS;
	if (info.state != STATE_CLOSE || info.bytes_acked > 0)
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
	if (!(events & EPOLLOUT) || events & (EPOLLERR | EPOLLHUP) || d->turn[side - SERVER] == d->env->loop->turns)
		rc = dial_look(d->row->fd[side], d->unix_path);
	if (rc == 0 && is_itself(d, side))
		rc = -ECONNREFUSED;
	FAULT_POINT();
	if (rc == 0) {
		d->seen = events;
		win(d, side);
	} else if (rc != -EINPROGRESS) {
		d->error = -rc;
		drop(d, side);
		d->next_at_ms = 0; /* the next one at once */
		if (d->row->fd[SERVER] >= 0 || d->row->fd[SECOND] >= 0 || more_addresses(d))
			advance(d);
		else if (wait_for_more(d))
			plan(d);
		else
			finish(d, DIAL_FAILED);
	}
}

void dial_cancel(struct dial *d)
{
	timer_clear(d->env->loop, &d->timer);
	for (enum side side = SERVER; side <= SECOND; side++) {
		/* it may be connected already: a FIN would say that the client had nothing to say */
		if (d->row->fd[side] >= 0)
			sock_reset_on_close(d->row->fd[side]);
		drop(d, side);
	}
}

/* An attempt of a predecessor: connected, under way, or of no use. */
static int look_at_old(struct dial *d, enum side side)
{
	int fd = d->row->fd[side], rc;
	struct addr *a = &d->addr[side - SERVER];

	*a = (struct addr){.family = AF_UNIX};
	d->turn[side - SERVER] = d->env->loop->turns;
	if (d->unix_path) /* its peer is known once it is connected */
		return sock_peer(fd, &(struct addr){0});
	if (sock_peer(fd, a) < 0)
		a->family = AF_UNSPEC;
	rc = dial_look(fd, false);
	return rc == 0 && is_itself(d, side) ? -ECONNREFUSED : rc;
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
		memset(cold->dial_tried, 0, sizeof(cold->dial_tried));
	advance(d);
}
