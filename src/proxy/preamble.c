#include "proxy/preamble.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "os/sock.h"
#include "proxy/seldom.h"
#include "takeover/position.h"
#include "takeover/row_state.h"

#define FIRST_LOOK 1024 /* bytes: more than nearly all headers have */
#define TELL_MS    1000

void preamble_cancel(struct preamble *p)
{
	timer_clear(p->env->loop, &p->timer);
	early_leave(&p->early);
}

static void finish(struct preamble *p, enum preamble_outcome outcome)
{
	preamble_cancel(p);
	if (p->raised)
		sock_wake_at(p->row->fd[CLIENT], 1);
	p->done(p->arg, outcome);
}

/* ---- what the log is told ---- */

/* Of each address once a second. */
static bool may_tell(struct preamble *p)
{
	const struct addr *a = &p->cold->client;
	int64_t now_ms = p->env->loop->now_ms;
	uint64_t who = 14695981039346656037ULL;
	size_t i;

	for (i = 0; i < sizeof(a->ip); i++)
		who = (who ^ a->ip[i]) * 1099511628211ULL;
	i = who % (sizeof(p->room->told) / sizeof(p->room->told[0]));
	if (p->room->told[i].who == who && p->room->told[i].at_ms && now_ms - p->room->told[i].at_ms < TELL_MS)
		return false;
	p->room->told[i].who = who;
	p->room->told[i].at_ms = now_ms;
	return true;
}

/* What it is instead: a few signs, or three bytes that are none. */
static void add_beginning(const uint8_t *bytes, size_t n, struct buf *out)
{
	int strange = 0;

	buf_adds(out, "begins \"");
	for (size_t i = 0; i < n && i < 16 && strange < 3; i++) {
		bool plain = bytes[i] >= ' ' && bytes[i] < 0x7f;

		strange += !plain;
		if (bytes[i] == '"' || bytes[i] == '\\')
			buf_addf(out, "\\%c", bytes[i]);
		else if (plain)
			buf_addc(out, (char)bytes[i]);
		else if (bytes[i] == '\r' || bytes[i] == '\n')
			buf_adds(out, bytes[i] == '\r' ? "\\r" : "\\n");
		else
			buf_addf(out, "\\x%02x", bytes[i]);
	}
	buf_addc(out, '"');
}

static const char *what_is_wrong(enum why why)
{
	switch (why) {
	case WHY_VERSION:
		return "its version is neither 1 nor 2";
	case WHY_CRC:
		return "its checksum is wrong";
	case WHY_TLV:
		return "the lengths of its TLVs do not add up";
	case WHY_DATAGRAM:
		return "it is of datagrams";
	case WHY_CROWD:
		return "it is not whole, and too many others wait for theirs";
	case WHY_FIN:
		return "the connection ended before it was whole";
	default:
		return "it breaks the rules of the PROXY protocol";
	}
}

static void tell(struct preamble *p, const char *what)
{
	char client[ADDR_TEXT_MAX];

	log_error("PROXY header from %s: %s, id=%" PRIu64, addr_format_port(&p->cold->client, client), what,
	          p->cold->id);
}

static void bad(struct preamble *p, enum why why, const uint8_t *bytes, size_t n)
{
	struct buf what = BUF_INIT;

	p->why = why;
	if (may_tell(p)) {
		if (n > 0) {
			buf_adds(&what, why == WHY_SYNTAX ? "not a header (" : "");
			if (why == WHY_SYNTAX)
				add_beginning(bytes, n, &what);
			buf_adds(&what, why == WHY_SYNTAX ? ")" : what_is_wrong(why));
		} else {
			buf_adds(&what, what_is_wrong(why));
		}
		tell(p, what.s);
		buf_release(&what);
	}
	finish(p, PREAMBLE_BAD);
}

static void timed_out(void *arg)
{
	struct preamble *p = arg;
	bool silent = sock_unread(p->row->fd[CLIENT]) <= 0;
	char what[80], time[TEXT_TIME_MAX];

	if (p->optional && silent) {
		finish(p, PREAMBLE_NONE);
		return;
	}
	p->why = WHY_TIMEOUT;
	if (may_tell(p)) {
		snprintf(what, sizeof(what), "%s after %s (proxy-timeout)",
		         silent ? "none has come" : "it is not whole", text_format_time(p->time_ms, time));
		tell(p, what);
	}
	finish(p, PREAMBLE_BAD);
}

/* ---- a header that is whole ---- */

static bool is_unix(const struct preamble *p)
{
	return p->row->flags & ROWFLAG_CLIENT_UNIX;
}

/* n bytes that are there. */
static void take(struct preamble *p, uint64_t n)
{
	static char nowhere[4096]; /* a Unix socket throws nothing away by itself */

	while (n > 0) {
		ssize_t took = is_unix(p) ? sock_recv(p->row->fd[CLIENT], nowhere,
		                                      n < sizeof(nowhere) ? n : sizeof(nowhere), 0)
		                          : sock_recv(p->row->fd[CLIENT], NULL, n, MSG_TRUNC);

		FAULT_POINT();
		if (took <= 0)
			return; /* it was reset: the next step hears of that */
		n -= (uint64_t)took;
	}
}

/* The row says how long it is. */
static void take_header(struct preamble *p, uint64_t n)
{
	struct row *row = p->row;

	/* counted as TCP does, and as counted, so that nobody takes it for the client's */
	row->flow[CLIENT].moved = row->counted[CLIENT] = p->cold->preamble;
	p->cold->base[CLIENT] = -(uint64_t)p->cold->preamble;
	FAULT_POINT();
	take(p, n);
	p->cold->met = 1;
	row->deadline_ms = 0;
	row_set_state(row, ROW_ACCEPTED);
	finish(p, PREAMBLE_HEADER);
}

static void write_down(struct preamble *p, const struct proxy_reader *r)
{
	struct row_cold *cold = p->cold;

	if (!r->own) {
		memcpy(trio_tlvs(p->env->trio, row_index(p->env->trio, p->row)), r->tlvs, r->n_tlvs);
		cold->n_tlvs = r->n_tlvs;
		cold->via = cold->client;
		barrier();
		FAULT_POINT();
		cold->client = r->from;
		cold->announced = r->to;
		FAULT_POINT();
	}
	barrier();
	cold->preamble = r->length;
	barrier();
	FAULT_POINT();
}

static void whole(struct preamble *p, const struct proxy_reader *r, size_t seen)
{
	if (r->tlvs_left_out && !r->own && seldom_now(p->env->seldom, SELDOM_TLVS, p->env->loop->now_ms))
		tell(p,
		     "it has more than 4096 bytes of TLVs, of which the last are dropped (said once a minute at most)");
	p->version = r->own ? 0 : r->version;
	/* a long one was looked at to its end, and no further */
	p->nothing_more = seen == r->length && (seen < FIRST_LOOK || sock_unread(p->row->fd[CLIENT]) <= (int)seen);
	write_down(p, r);
	take_header(p, r->length);
}

/* ---- looking ---- */

static enum why why_of(const struct proxy_reader *r)
{
	static const enum why whys[] = {[PROXY_SYNTAX] = WHY_SYNTAX,
	                                [PROXY_VERSION] = WHY_VERSION,
	                                [PROXY_CRC] = WHY_CRC,
	                                [PROXY_TLV] = WHY_TLV,
	                                [PROXY_DATAGRAM] = WHY_DATAGRAM};

	return r->state == PROXY_NONE ? WHY_SYNTAX : whys[r->why];
}

static bool has_ended(const struct preamble *p)
{
	struct pollfd client = {.fd = p->row->fd[CLIENT], .events = POLLRDHUP};

	return poll(&client, 1, 0) == 1;
}

/* The kernel need not wake us before so much is there, and makes room for it: a large segment of which a part was read would close
 * the window for good. It wakes us at once if it is there by now. */
static void wait_for_more(struct preamble *p, const struct proxy_reader *r)
{
	if (r->version == 1 || is_unix(p))
		return;
	sock_wake_at(p->row->fd[CLIENT], (int)p->need);
	p->raised = true;
	early_widen(&p->early, p->env->loop, p->row->fd[CLIENT]);
}

/* What n bytes say. true: there are more by now, so they are to be looked at. */
static bool read_bytes(struct preamble *p, const uint8_t *bytes, size_t n)
{
	static struct proxy_reader r; /* of this call */

	memset(&r, 0, offsetof(struct proxy_reader, tlvs));
	proxy_read(&r, bytes, n);
	if (r.state == PROXY_WHOLE) {
		whole(p, &r, n);
	} else if (r.state == PROXY_NONE && p->optional) {
		finish(p, PREAMBLE_NONE);
	} else if (r.state != PROXY_MORE) {
		bad(p, why_of(&r), bytes, n);
	} else {
		p->need = r.length + proxy_wanted(&r);
		if (sock_unread(p->row->fd[CLIENT]) >= (int)p->need)
			return true;
		if (has_ended(p))
			bad(p, WHY_FIN, bytes, n);
		else
			wait_for_more(p, &r);
	}
	return false;
}

static void look(struct preamble *p)
{
	static uint8_t bytes[PROXY_V2_MAX];
	ssize_t n = 0, before;

	do {
		before = n;
		n = sock_recv(p->row->fd[CLIENT], bytes, p->need > FIRST_LOOK ? p->need : FIRST_LOOK, MSG_PEEK);
		FAULT_POINT();
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			finish(p, PREAMBLE_PROBE);
			return;
		}
	} while (n > before && read_bytes(p, bytes, (size_t)n)); /* urgent data may hold up what is behind it */
}

void preamble_event(struct preamble *p, uint32_t events)
{
	bool more = !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));

	/* until so many bytes were waited for, whatever has come may be enough */
	if (!more || !p->raised || sock_unread(p->row->fd[CLIENT]) >= (int)p->need)
		look(p);
}

/* ---- its beginning ---- */

static void begin(struct preamble *p, struct preamble_room *room, struct step_env *env, struct row *row,
                  struct row_cold *cold, void (*done)(void *arg, enum preamble_outcome outcome), void *arg)
{
	*p = (struct preamble){.room = room, .env = env, .row = row, .cold = cold, .done = done, .arg = arg};
}

static void too_many(void *arg)
{
	bad(arg, WHY_CROWD, NULL, 0);
}

void preamble_start(struct preamble *p, struct preamble_room *room, struct step_env *env, struct row *row,
                    struct row_cold *cold, const struct section *section, bool now,
                    void (*done)(void *arg, enum preamble_outcome outcome), void *arg)
{
	begin(p, room, env, row, cold, done, arg);
	p->optional = section->accept_proxy->optional;
	p->time_ms = section->proxy_timeout_ms;
	if (row->deadline_ms == 0)
		row->deadline_ms = env->loop->now_ms + p->time_ms;
	row_set_state(row, ROW_PREAMBLE);
	timer_set(env->loop, &p->timer, row->deadline_ms, timed_out, p);
	if (!early_enter(&p->early, room->early, cold->accepted_us, too_many, p))
		return;
	if (now)
		look(p);
}

bool preamble_was_whole(struct row_cold *cold)
{
	if (cold->preamble)
		return true;
	if (cold->via.family == AF_UNSPEC)
		return false;
	cold->client = cold->via;
	FAULT_POINT();
	cold->via = cold->announced = (struct addr){.family = AF_UNSPEC};
	cold->n_tlvs = 0;
	return false;
}

/* So much of it was taken, as TCP says. Where it cannot tell a FIN from a reset it may be one off; a header is longer. */
static bool taken(const struct preamble *p, uint64_t *ret)
{
	struct position at;

	if (p->cold->met) {
		*ret = p->cold->preamble;
		return true;
	}
	if (is_unix(p) || position_ask(p->row->fd[CLIENT], false, true, &at) < 0)
		return false;
	*ret = at.consumed;
	if (!at.certain && at.consumed + 1 == p->cold->preamble)
		*ret = p->cold->preamble;
	else if (!at.certain && at.consumed == UINT64_MAX)
		*ret = 0;
	return *ret <= p->cold->preamble;
}

void preamble_take_on(struct preamble *p, struct preamble_room *room, struct step_env *env, struct row *row,
                      struct row_cold *cold, void (*done)(void *arg, enum preamble_outcome outcome), void *arg)
{
	uint64_t n;

	begin(p, room, env, row, cold, done, arg);
	p->raised = !is_unix(p);
	p->version = cold->via.family == AF_UNSPEC ? 0 : 2;
	if (taken(p, &n))
		take_header(p, cold->preamble - n);
	else
		finish(p, PREAMBLE_LOST);
}
