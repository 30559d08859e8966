/*
 * session_end.c - the one door out: what a connection leaves behind is recorded, closed and given back, in an order that a
 * successor may take up at any point (session_adopt() calls it again).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/sock.h"
#include "proxy/ejecting.h"
#include "proxy/recording.h"
#include "proxy/session_parts.h"
#include "proxy/tally.h"
#include "takeover/row_state.h"

struct steps *session_begin_step(struct session *s)
{
	if (!s->stepping)
		s->steps = mem_alloc(sizeof(*s->steps));
	else
		memset(s->steps, 0, sizeof(*s->steps));
	s->stepping = true;
	s->talking = s->agreeing = false;
	return s->steps;
}

void session_no_more_steps(struct session *s)
{
	if (s->stepping)
		free(s->steps);
	s->stepping = s->talking = s->agreeing = false;
}

void session_leave_resolve(struct session *s)
{
	timer_clear(&s->engine->loop, &s->steps->resolve);
	s->engine->n_resolving--;
}

void session_cancel_sniffing(struct session *s)
{
	if (s->talking)
		talking_cancel(&s->steps->talking);
	else
		sniffing_cancel(&s->steps->sniffing);
}

void session_cancel_dial(struct session *s)
{
	if (s->agreeing) {
		agreeing_cancel(&s->steps->agreeing);
		session_drop_server(s);
	} else {
		dial_cancel(&s->steps->dial);
	}
}

/* was: the state that it leaves. */
static void cancel_step(struct session *s, uint8_t was)
{
	switch (was) {
	case ROW_VERDICT:
		verdict_cancel(&s->steps->verdict);
		break;
	case ROW_PREAMBLE:
		preamble_cancel(&s->steps->preamble);
		break;
	case ROW_SNIFFING:
		session_cancel_sniffing(s);
		break;
	case ROW_RESOLVE:
		session_leave_resolve(s);
		break;
	case ROW_CONNECTING:
		session_cancel_dial(s);
		break;
	case ROW_RELAY:
	case ROW_RESETTING:
	case ROW_CLOSING:
		relay_cancel(&s->relay);
		break;
	case ROW_STARTING:
	case ROW_HANDLER:
		handler_cancel(&s->steps->handler);
		break;
	case ROW_QUEUED:
	case ROW_HELD:
		waiting_cancel(&s->steps->waiting);
		break;
	case ROW_LINGER:
		linger_cancel(&s->steps->linger);
		break;
	default:
		break;
	}
}

/* Once, even over the death of a worker: if the ring has grown since the mark, it is in there. */
static void put_last_record(struct session *s)
{
	struct trio *t = s->engine->env.trio;
	struct record_message m;
	size_t len;

	if (s->row->flags & ROWFLAG_RECORDED)
		return;
	FAULT_POINT();
	if (s->cold->ring_mark == 0) {
		s->cold->ring_mark = ring_head(trio_ring(t)) + 1;
		barrier();
	}
	FAULT_POINT();
	if (s->cold->ring_mark == ring_head(trio_ring(t)) + 1) {
		len = accesslog_fill(t, s->engine->world, s->index, RECORD_CLOSE, &m);
		if (!m.record.unwanted || s->engine->setup.all_records)
			s->engine->setup.message(s->engine->setup.arg, MESSAGE_RECORD, &m, len);
	}
	tapping_ended(s);
	barrier();
	FAULT_POINT();
	s->row->flags |= ROWFLAG_RECORDED;
	FAULT_POINT();
}

/* Until now it was at its server: its time to come again begins. */
static void stick_on(struct session *s)
{
	struct engine *e = s->engine;

	if (s->cold->stick && s->cold->connected_us && e->stick.memory)
		stick_touch(&e->stick, s->cold->stick, &e->world->targets, s->cold->target, e->loop.now_ms);
}

/* reset: both sides get one. */
static void close_all(struct session *s, bool reset)
{
	struct row *row = s->row;

	for (int i = 0; i < 3; i++) {
		int fd = row->fd[i];

		if (fd < 0)
			continue;
		if (i == SECOND && row->cookie[SECOND] == 0) {
			row->fd[i] = -1; /* a pidfd: the number may be a keeper's as soon as it is free */
			loop_remove(&s->engine->loop, fd); /* the spawner holds the same open file */
			close(fd);
			continue;
		}
		/* close first, forget later: a successor adopts accepted sockets that no row knows */
		if (reset && i != SECOND)
			sock_reset_on_close(fd);
		FAULT_POINT();
		close(fd);
		FAULT_POINT();
		row->fd[i] = -1;
		FAULT_POINT();
	}
	for (int i = 0; i < 2; i++)
		pipepool_discard(&row->flow[i].pipe_read, &row->flow[i].pipe_write);
}

void session_end(struct session *s, enum end end, enum manner manner)
{
	session_refuse(s, end, WHY_NONE, manner);
}

void session_refuse(struct session *s, enum end end, enum why why, enum manner manner)
{
	struct engine *e = s->engine;
	struct row *row = s->row;
	uint8_t was = row->state;

	/* from here on there is no way back: a step that is cancelled would look as if it had not begun */
	row->end = (uint8_t)end;
	row->why = (uint8_t)why;
	row_set_state(row, manner == BY_RESET ? ROW_ABORTING : ROW_ENDING);
	cancel_step(s, was);
	session_no_more_steps(s);
	recording_stop(s);
	ejecting_stop(s);
	put_last_record(s);
	tally_ended(s);
	stick_on(s);
	barrier();
	close_all(s, manner == BY_RESET);
	chain_forget(e, s->index);
	for (int i = 0; i < LIMIT_KINDS; i++) {
		limits_give(&e->limits, s->cold->limit[i]);
		FAULT_POINT();
		s->cold->limit[i] = 0;
	}
	limits_give(&e->limits, s->cold->wait.key);
	FAULT_POINT();
	s->cold->wait.key = 0;
	waiting_wake(&e->waiting);
	row_set_state(row, ROW_FREE);
	engine_row_freed(e, s->index);
}

/* What it says would never be heard, and nothing would end it. */
void session_unwatched(struct session *s, int error)
{
	char client[ADDR_TEXT_MAX];

	log_error("the connection of %s is ended: it cannot be watched: %s, id=%" PRIu64,
	          addr_format_port(&s->cold->client, client), loop_error_text(-error), s->cold->id);
	session_end(s, END_LOST, BY_RESET);
}

/* Somebody wanted to know whether we are there: no access record. */
void session_end_probe(struct session *s)
{
	char client[ADDR_TEXT_MAX];

	log_info("PROXY header from %s: it only connected, and went without a word, id=%" PRIu64,
	         addr_format_port(&s->cold->client, client), s->cold->id);
	s->row->flags |= ROWFLAG_RECORDED;
	session_end(s, END_CLIENT_FIN, BY_CLOSE);
}
