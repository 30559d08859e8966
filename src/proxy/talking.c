#include "proxy/talking.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "os/sock.h"
#include "takeover/position.h"
#include "takeover/row_state.h"

#define THINGS_MOST 32

static uint8_t bytes[TALK_MOST]; /* of one look */

void talking_cancel(struct talking *t)
{
	timer_clear(t->env->loop, &t->timer);
	early_leave(&t->early);
}

static void finish(struct talking *t, enum talking_outcome outcome)
{
	talking_cancel(t);
	t->row->deadline_ms = 0;
	t->done(t->arg, outcome);
}

static void end(struct talking *t, enum end how, enum why why)
{
	t->end = how;
	t->why = why;
	finish(t, TALKING_END);
}

static void went(struct talking *t)
{
	if (position_error_pending(t->row->fd[CLIENT])) /* left there: a successor sees it, too */
		t->row->flags |= ROWFLAG_CLIENT_RESET;
	end(t, t->row->flags & ROWFLAG_CLIENT_RESET ? END_CLIENT_RESET : END_CLIENT_FIN, WHY_NONE);
}

static void too_many(void *arg)
{
	end(arg, END_NO_ROUTE, WHY_CROWD);
}

static void too_late(void *arg)
{
	struct talking *t = arg;

	end(t, END_NO_ROUTE, sock_unread(t->row->fd[CLIENT]) > 0 ? WHY_TIMEOUT : WHY_SILENT);
}

static void wait_until(struct talking *t, int64_t at_ms)
{
	t->row->deadline_ms = at_ms;
	timer_set(t->env->loop, &t->timer, at_ms, too_late, t);
}

/* ---- a step that is written down ---- */

static bool take(struct talking *t, uint64_t n)
{
	static char nowhere[TALK_MOST];
	ssize_t took;

	while (n > 0) {
		took = sock_recv(t->row->fd[CLIENT], nowhere, n < sizeof(nowhere) ? n : sizeof(nowhere), 0);
		FAULT_POINT();
		if (took <= 0)
			return false;
		n -= (uint64_t)took;
	}
	return true;
}

static char *tag_of(struct talking *t)
{
	return trio_said(t->env->trio, row_index(t->env->trio, t->row))->sni;
}

/* The last n bytes of what it is told. They find room: nothing else was ever sent there, and it is little. */
static bool tell(struct talking *t, uint64_t n)
{
	static struct buf text; /* its memory is kept for the next one */
	const struct row_cold *cold = t->cold;
	uint64_t all;

	buf_clear(&text);
	starttls_answer(t->protocol, cold->talk_answer, tag_of(t),
	                cold->n_tag < TALK_TAG_MOST ? cold->n_tag : TALK_TAG_MOST, t->host, &text);
	all = text.len;
	if (n > all)
		return false;
	if (n > 0 && sock_send(t->row->fd[CLIENT], text.s + (all - n), n, 0) != (ssize_t)n)
		return false;
	FAULT_POINT();
	return true;
}

/* All of it is done: the same in whichever order it is looked at. */
static void commit(struct talking *t)
{
	struct row_cold *cold = t->cold;

	cold->said = cold->talk_said;
	FAULT_POINT();
	cold->preamble = cold->talk_take;
	t->row->flow[CLIENT].moved = t->row->counted[CLIENT] = cold->preamble;
	cold->base[CLIENT] = -(uint64_t)cold->preamble;
	cold->talk_step = cold->talk_next;
	barrier();
	FAULT_POINT();
	cold->talk_answer = 0;
	barrier();
	FAULT_POINT();
}

/* So many bytes are to be taken still, and told. */
static bool carry_out(struct talking *t, uint64_t to_take, uint64_t to_tell)
{
	if (!take(t, to_take) || !tell(t, to_tell))
		return false;
	commit(t);
	return true;
}

static bool do_step(struct talking *t, const struct talk_heard *heard)
{
	static struct buf text;
	struct row_cold *cold = t->cold;

	buf_clear(&text);
	starttls_answer(t->protocol, heard->answer, heard->tag, heard->n_tag, t->host, &text);
	memcpy(tag_of(t), heard->tag, heard->n_tag);
	cold->n_tag = heard->n_tag;
	cold->talk_next = heard->step;
	cold->talk_take = cold->preamble + heard->take;
	cold->talk_said = cold->said + (uint32_t)text.len;
	barrier();
	FAULT_POINT();
	cold->talk_answer = heard->answer;
	barrier();
	FAULT_POINT();
	return carry_out(t, heard->take, text.len);
}

/* One that a predecessor had begun. false: how far it had come cannot be told. */
static bool finish_step(struct talking *t)
{
	struct row_cold *cold = t->cold;
	struct position at;

	if (t->row->flags & ROWFLAG_CLIENT_UNIX || position_ask(t->row->fd[CLIENT], false, true, &at) < 0 ||
	    at.closed || at.consumed > cold->talk_take || at.written > cold->talk_said)
		return false;
	return carry_out(t, cold->talk_take - at.consumed, cold->talk_said - at.written);
}

/* ---- hearing ---- */

/* true: there may be more to hear. */
static bool hear(struct talking *t, size_t n)
{
	struct talk_heard heard;

	starttls_hear(t->protocol, t->cold->talk_step, bytes, n, &heard);
	switch (heard.kind) {
	case TALK_MORE:
		return false;
	case TALK_ANSWER:
	case TALK_QUIT:
		if (++t->things > THINGS_MOST) {
			end(t, END_NO_ROUTE, WHY_PROTOCOL);
			return false;
		}
		if (!do_step(t, &heard)) {
			went(t);
			return false;
		}
		if (heard.kind == TALK_QUIT) {
			end(t, END_CLIENT_FIN, WHY_NONE);
			return false;
		}
		wait_until(t, t->env->loop->now_ms + t->time_ms);
		break;
	case TALK_PASS:
		t->cold->talk_step = heard.step;
		break;
	case TALK_CANCEL:
		t->bytes = bytes;
		t->n_bytes = heard.take;
		take(t, heard.take);
		finish(t, TALKING_CANCEL);
		return false;
	case TALK_INJECTION:
		end(t, END_BAD_TLS, WHY_INJECTION);
		return false;
	case TALK_WRONG:
		end(t, END_NO_ROUTE, WHY_PROTOCOL);
		return false;
	}
	if (t->cold->talk_step < TALK_OVER)
		return true;
	finish(t, TALKING_OVER);
	return false;
}

static void look(struct talking *t)
{
	ssize_t n;

	do {
		n = t->cold->talk_step == TALK_BEGIN && t->protocol != STARTTLS_POSTGRES
		            ? 0
		            : sock_recv(t->row->fd[CLIENT], bytes, sizeof(bytes), MSG_PEEK);
		FAULT_POINT();
		if (n == -EAGAIN)
			return;
		if (n < 0 || (n == 0 && (t->protocol == STARTTLS_POSTGRES || t->cold->talk_step != TALK_BEGIN))) {
			went(t);
			return;
		}
	} while (hear(t, (size_t)n));
}

void talking_event(struct talking *t)
{
	look(t);
}

void talking_start(struct talking *t, struct early_room *room, struct step_env *env, struct row *row,
                   struct row_cold *cold, enum starttls protocol, const char *host, int64_t time_ms, bool now,
                   void (*done)(void *arg, enum talking_outcome outcome), void *arg)
{
	bool begun = row->state == ROW_SNIFFING;

	*t = (struct talking){.env = env,
	                      .row = row,
	                      .cold = cold,
	                      .protocol = protocol,
	                      .host = host,
	                      .time_ms = time_ms,
	                      .done = done,
	                      .arg = arg};
	if (!begun)
		row->deadline_ms = env->loop->now_ms + time_ms;
	row_set_state(row, ROW_SNIFFING);
	timer_set(env->loop, &t->timer, row->deadline_ms, too_late, t);
	if (!early_enter(&t->early, room, cold->accepted_us, too_many, t))
		return;
	if (cold->talk_answer && !finish_step(t)) {
		finish(t, TALKING_LOST);
		return;
	}
	if (cold->talk_step >= TALK_OVER)
		finish(t, TALKING_OVER);
	else if (now || cold->talk_step == TALK_BEGIN)
		look(t);
}
