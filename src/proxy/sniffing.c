#include "proxy/sniffing.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "os/sock.h"
#include "takeover/position.h"
#include "takeover/row_state.h"

#define FIRST_LOOK 4096 /* bytes: more than nearly all hellos have */

static uint8_t bytes[HELLO_RECORDS + SNIFF_MOST]; /* of one look */
static struct hello_reader hello;                 /* likewise */

static bool is_unix(const struct sniffing *p)
{
	return p->row->flags & ROWFLAG_CLIENT_UNIX;
}

void sniffing_cancel(struct sniffing *p)
{
	if (!p->env) /* it never began here */
		return;
	timer_clear(p->env->loop, &p->timer);
	early_leave(&p->early);
	if (p->raised)
		sock_wake_at(p->row->fd[CLIENT], 1);
	p->raised = false;
}

static void finish(struct sniffing *p, const struct section *found)
{
	sniffing_cancel(p);
	p->row->deadline_ms = 0;
	p->done(p->arg, found);
}

static void refuse(struct sniffing *p, enum end end, enum why why)
{
	p->end = end;
	p->why = why;
	finish(p, NULL);
}

static void too_many(void *arg)
{
	refuse(arg, END_NO_ROUTE, WHY_CROWD);
}

/* ---- what is known then ---- */

static void write_name(struct sniffing *p, size_t n, bool bad)
{
	struct row_said *said = trio_said(p->env->trio, row_index(p->env->trio, p->row));

	memset(&hello, 0, sizeof(hello));
	hello_read(&hello, bytes, n);
	if (hello.state != HELLO_WHOLE && !(bad && hello.state == HELLO_WRONG && hello.why == HELLO_NAME))
		return;
	memcpy(said->sni, hello.name, hello.n_name);
	p->cold->n_sni = hello.n_name;
	p->cold->n_alpn = (uint8_t)hello_join(hello.alpn, hello.n_alpn, said->alpn, sizeof(said->alpn) - 1);
}

static void write_down(struct sniffing *p, const struct heard *heard, size_t n)
{
	p->cold->n_sni = p->cold->n_alpn = 0;
	if (heard->word == SNIFF_TLS)
		write_name(p, n, heard->kind == HEARD_BAD_TLS);
	barrier();
	FAULT_POINT();
	p->cold->spoken = (uint8_t)heard->word;
	barrier();
	FAULT_POINT();
}

static void decided(struct sniffing *p, const struct heard *heard, size_t n)
{
	write_down(p, heard, n);
	if (heard->kind == HEARD_SECTION)
		finish(p, heard->section);
	else
		refuse(p, heard->kind == HEARD_BAD_TLS ? END_BAD_TLS : END_NO_ROUTE, heard->why);
}

/* ---- looking ---- */

/* As many as may be needed. Returns how many there are, 0 at the end, or -errno. */
static ssize_t peek(const struct row *row, size_t need)
{
	size_t most = need > FIRST_LOOK ? need : FIRST_LOOK;

	return sock_recv(row->fd[CLIENT], bytes, most < sizeof(bytes) ? most : sizeof(bytes), MSG_PEEK);
}

/* The same; an error is noted in the row, for it tells only once. */
static ssize_t peek_noting(struct sniffing *p, size_t need)
{
	ssize_t n = peek(p->row, need);

	if (n < 0 && n != -EAGAIN)
		p->row->flags |= ROWFLAG_CLIENT_RESET;
	return n;
}

static bool has_ended(const struct sniffing *p)
{
	struct pollfd client = {.fd = p->row->fd[CLIENT], .events = POLLRDHUP};

	return poll(&client, 1, 0) == 1;
}

static void went(struct sniffing *p)
{
	bool reset;

	if (position_error_pending(p->row->fd[CLIENT])) /* left there: a successor sees it, too */
		p->row->flags |= ROWFLAG_CLIENT_RESET;
	reset = p->row->flags & ROWFLAG_CLIENT_RESET;
	refuse(p, reset ? END_CLIENT_RESET : END_CLIENT_FIN, WHY_NONE);
}

/* No more will come, or not in time: half of something is not waited for any more. */
static void settle(struct sniffing *p, size_t n, void (*half)(struct sniffing *p))
{
	struct heard heard = openings_hear(p->config, p->section, bytes, n, true, &hello);

	if (heard.kind == HEARD_MORE)
		half(p);
	else
		decided(p, &heard, n);
}

/* The kernel need not wake us before so much is there, and makes room for it. It wakes us at once if it is there by now. */
static void wait_for_more(struct sniffing *p)
{
	if (is_unix(p))
		return;
	sock_wake_at(p->row->fd[CLIENT], (int)p->need);
	p->raised = true;
	early_widen(&p->early, p->env->loop, p->row->fd[CLIENT]);
}

/* What n bytes say. true: there are more by now, so they are to be looked at. */
static bool read_bytes(struct sniffing *p, size_t n)
{
	struct heard heard = openings_hear(p->config, p->section, bytes, n, false, &hello);

	if (heard.kind != HEARD_MORE) {
		decided(p, &heard, n);
		return false;
	}
	p->need = heard.more > n ? heard.more : n + 1;
	if (sock_unread(p->row->fd[CLIENT]) >= (int)p->need)
		return true;
	if (has_ended(p))
		settle(p, n, went);
	else
		wait_for_more(p);
	return false;
}

static void look(struct sniffing *p)
{
	ssize_t n = 0, before;

	do {
		before = n;
		n = peek_noting(p, p->need);
		FAULT_POINT();
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			went(p);
			return;
		}
	} while (n > before && read_bytes(p, (size_t)n)); /* urgent data may hold up what is behind it */
}

void sniffing_event(struct sniffing *p, uint32_t events)
{
	bool more = !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));

	/* until so many bytes were waited for, whatever has come may be enough */
	if (!more || !p->raised || sock_unread(p->row->fd[CLIENT]) >= (int)p->need)
		look(p);
}

static void too_late(struct sniffing *p)
{
	refuse(p, END_NO_ROUTE, WHY_TIMEOUT);
}

static void timed_out(void *arg)
{
	struct sniffing *p = arg;
	ssize_t n = peek_noting(p, sizeof(bytes));
	struct heard heard;

	if (n > 0) {
		settle(p, (size_t)n, too_late);
	} else if (n != -EAGAIN) {
		went(p);
	} else {
		heard = openings_silent(p->config, p->section);
		heard.word = SNIFF_SILENT;
		decided(p, &heard, 0);
	}
}

/* ---- its beginning ---- */

void sniffing_start(struct sniffing *p, struct early_room *room, struct step_env *env, struct row *row,
                    struct row_cold *cold, const struct config *config, const struct section *section, bool now,
                    void (*done)(void *arg, const struct section *found), void *arg)
{
	bool begun = row->state == ROW_SNIFFING;

	*p = (struct sniffing){
	        .env = env, .row = row, .cold = cold, .config = config, .section = section, .done = done, .arg = arg};
	if (!begun || !row->deadline_ms)
		row->deadline_ms = env->loop->now_ms + section->speak_timeout_ms;
	row_set_state(row, ROW_SNIFFING);
	timer_set(env->loop, &p->timer, row->deadline_ms, timed_out, p);
	if (early_enter(&p->early, room, cold->accepted_us, too_many, p) && now)
		look(p);
}

const struct section *sniffing_again(const struct row *row, const struct row_cold *cold, const struct config *config,
                                     const struct section *section)
{
	struct heard heard = {.kind = HEARD_MORE};
	ssize_t n;

	if (cold->spoken == SNIFF_SILENT) {
		heard = openings_silent(config, section);
	} else {
		n = peek(row, sizeof(bytes));
		if (n > 0)
			heard = openings_hear(config, section, bytes, (size_t)n, true, &hello);
	}
	return heard.kind == HEARD_SECTION ? heard.section : NULL;
}
