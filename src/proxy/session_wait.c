/*
 * session_wait.c - a connection that has to wait: why it may, how long, and what becomes of it then. The line itself is in waiting.c.
 *
 * Who waits is counted as waiting, and for the limits of its client; not for max-connections, nor for a server. It is counted as waiting
 * until it is connected, so that one whose try fails has its place in the line still.
 */
#include <inttypes.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "proxy/route.h"
#include "proxy/session_parts.h"

enum { KEY_HELD = LIMIT_KINDS + 16, KEY_QUEUED };

/* The access program has not been asked yet, or its section is not known, so it waits for a place only, in a line of its own. */
bool session_before_access(struct session *s)
{
	return (section_of(s)->acp && !(s->row->flags & ROWFLAG_GRANTED)) || session_must_speak(s);
}

static uint64_t line_of(struct session *s)
{
	return s->engine->rules->pools[s->cold->section].line | session_before_access(s);
}

/* One process that serves one connection does not know of others. */
static bool queues(struct session *s)
{
	return s->engine->setup.rearm_fds && section_of(s)->queue.time_ms;
}

static bool holds(struct session *s)
{
	return s->engine->setup.rearm_fds && section_of(s)->on_down == ON_DOWN_HOLD && !session_before_access(s);
}

static struct route_outlook look(struct session *s)
{
	return route_look(s->engine->rules, section_of(s), s->engine->world, &s->engine->limits,
	                  s->engine->loop.now_ms);
}

static const struct wait_rule *rule_of(struct session *s, enum row_state state)
{
	return state == ROW_HELD ? &section_of(s)->hold : &section_of(s)->queue;
}

static uint64_t key_of(struct session *s, enum row_state state)
{
	const struct config *c = s->engine->rules->config;
	const uint32_t *number = &c->services[section_of(s)->service].number;

	return limit_key((enum limit_kind)(state == ROW_HELD ? KEY_HELD : KEY_QUEUED), number, sizeof(*number));
}

/* Each has a time of its own: who has waited for a place, and finds no server then, is held as long as who comes now. */
static int64_t deadline_ms(struct session *s, enum row_state state)
{
	const struct row_wait *wait = &s->cold->wait;
	int64_t since_us = state == ROW_HELD && wait->held_us ? wait->held_us : wait->since_us;

	return (since_us + 999) / 1000 + rule_of(s, state)->time_ms;
}

static bool is_waiting(const struct session *s)
{
	return s->row->state == ROW_QUEUED || s->row->state == ROW_HELD;
}

/* ---- may it wait? ---- */

enum row_state session_waits_for(struct session *s, bool full)
{
	if (!full)
		return holds(s) ? ROW_HELD : ROW_FREE;
	/* who was held waits on in the same line, as long as it would have been held */
	if (holds(s) && s->cold->wait.held_us)
		return ROW_HELD;
	return queues(s) ? ROW_QUEUED : ROW_FREE;
}

enum row_state session_stands_behind(struct session *s)
{
	if (s->row->state != ROW_ACCEPTED && s->row->state != ROW_SNIFFING && s->row->state != ROW_VERDICT)
		return ROW_FREE; /* its turn has come before */
	if ((!queues(s) && !holds(s)) || !waiting_has_line(&s->engine->waiting, line_of(s)))
		return ROW_FREE;
	return !queues(s) || (holds(s) && !look(s).well) ? ROW_HELD : ROW_QUEUED;
}

bool session_is_patient(struct session *s)
{
	return queues(s) && (s->cold->wait.since_us == 0 || s->engine->loop.now_ms < deadline_ms(s, ROW_QUEUED));
}

/* ---- in line ---- */

void session_wait_over(struct session *s, enum row_state state)
{
	if (state == ROW_HELD)
		session_refuse(s, END_NO_SERVER, WHY_HOLD_TIMEOUT, BY_RESET);
	else
		session_refuse(s, END_LIMIT, WHY_QUEUE_TIMEOUT, BY_RESET);
}

static bool wait_ready(void *arg, bool first)
{
	struct session *s = arg;
	struct waiting *w = &s->steps->waiting;
	struct route_outlook outlook;

	if (!limits_have_place(&s->engine->limits, s->engine->rules, section_of(s)))
		return false;
	if (session_before_access(s))
		return first;
	outlook = look(s);
	if (!holds(s))
		return first && (outlook.room || !outlook.usable); /* the latter is told so, as ever */
	waiting_hopes(w, outlook.well ? HOPE_GOOD : outlook.usable ? HOPE_SOME : HOPE_NONE);
	return outlook.room && waiting_may_try(w) && (first || !outlook.well);
}

static bool count_as_waiting(struct session *s, enum row_state state)
{
	uint64_t key = key_of(s, state);

	if (s->cold->wait.key)
		return true;
	FAULT_POINT();
	s->cold->wait.key = key;
	if (limits_take(&s->engine->limits, key, rule_of(s, state)->max))
		return true;
	s->cold->wait.key = 0;
	return false;
}

void session_wait_begin(struct session *s, enum row_state state, void (*done)(void *arg, enum waiting_outcome outcome))
{
	struct limits *limits = &s->engine->limits;
	bool is_new = !is_waiting(s);
	struct waiting *w;
	enum why why;

	if (s->row->flags & ROWFLAG_CLIENT_RESET) {
		session_end(s, END_CLIENT_RESET, BY_RESET);
		return;
	}
	why = limits_take_client(limits, s->engine->rules, section_of(s), s->cold);
	if (!why && !count_as_waiting(s, state))
		why = WHY_QUEUE_FULL;
	if (why) {
		session_refuse(s, END_LIMIT, why, BY_RESET);
		return;
	}
	if (s->cold->wait.since_us == 0)
		s->cold->wait.since_us = clock_mono_us();
	if (state == ROW_HELD && s->cold->wait.held_us == 0)
		s->cold->wait.held_us = clock_mono_us();
	if (s->engine->loop.now_ms >= deadline_ms(s, state)) {
		session_wait_over(s, state);
		return;
	}
	if (state == ROW_HELD && s->cold->last_failure)
		waiting_failed(&s->engine->waiting, line_of(s));
	w = &session_begin_step(s)->waiting;
	*w = (struct waiting){.ready = wait_ready, .done = done, .arg = s};
	waiting_start(w, &s->engine->waiting, s->row, s->cold, state, line_of(s), deadline_ms(s, state));
	/* not before the state says that it waits: it would be connected without being counted */
	limits_give_kind(limits, s->cold, LIMIT_SERVICE);
	limits_give_kind(limits, s->cold, LIMIT_GLOBAL);
	if (is_new)
		waiting_wake(&s->engine->waiting); /* what it found may be old news already */
}

bool session_may_wait_on(struct session *s)
{
	uint64_t key = s->cold->wait.key;

	if (key != key_of(s, ROW_HELD) && key != key_of(s, ROW_QUEUED)) { /* it is of another service now */
		limits_give(&s->engine->limits, key);
		s->cold->wait.key = 0;
	}
	return s->row->state == ROW_HELD ? holds(s) : queues(s);
}

/* ---- out of it ---- */

void session_waits_no_more(struct session *s)
{
	if (!s->cold->wait.key)
		return;
	limits_give(&s->engine->limits, s->cold->wait.key);
	FAULT_POINT();
	s->cold->wait.key = 0;
	waiting_wake(&s->engine->waiting);
}

void session_tries(struct session *s)
{
	if (holds(s))
		waiting_tries(&s->engine->waiting, line_of(s), s->row);
}

bool session_goes_back(struct session *s)
{
	return s->cold->wait.key && s->cold->last_failure && holds(s);
}

static bool says_failed(struct session *s)
{
	return !s->cold->wait.key || waiting_says(&s->engine->waiting, line_of(s));
}

/* For log lines; buf holds ADDR_TEXT_MAX. */
static const char *client_text(struct session *s, char *buf)
{
	uint32_t uid;

	if (s->cold->client.family == AF_UNSPEC ||
	    (s->cold->client.family == AF_UNIX && !addr_process(&s->cold->client, &uid)))
		return "the client";
	return addr_format_port(&s->cold->client, buf);
}

void session_say_failed(struct session *s, const char *why)
{
	struct buf server = BUF_INIT;
	char client[ADDR_TEXT_MAX];

	if (!says_failed(s))
		return;
	server_describe(session_server(s), &server);
	log_error("connecting %s to %s: %s, id=%" PRIu64, client_text(s, client), server.s, why, s->cold->id);
	buf_release(&server);
}
