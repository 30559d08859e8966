/*
 * session_resume.c - a connection that was begun elsewhere goes on: in the next worker, from what stands in its row, or under
 * the rules of a new configuration.
 */
#include <unistd.h>
#include "base/fault.h"
#include "os/sock.h"
#include "proxy/ejecting.h"
#include "proxy/recording.h"
#include "proxy/session_parts.h"
#include "takeover/recover.h"
#include "takeover/row_state.h"

/* The server that is being dialled is one of the section's still, or again: its place may be another. */
static bool find_server_again(struct session *s)
{
	const struct pool *pool = &s->engine->rules->pools[s->cold->section];

	for (uint32_t i = 0; i < pool->n; i++)
		if (pool->targets[i] == s->cold->target && pool->limit_keys[i] == s->cold->limit[LIMIT_SERVER]) {
			s->cold->server_index = i;
			return true;
		}
	return false;
}

/* Its step is over, or has not begun. */
static void go_on_waiting(struct session *s)
{
	if (session_may_wait_on(s))
		session_enter_wait(s, (enum row_state)s->row->state);
	else
		session_take_turn(s); /* its rules say otherwise by now */
}

/* A header is waited for, or one is by the rules that hold now. What was looked at is in the socket still. */
static void begin_again(struct session *s)
{
	const struct section *section = section_of(s);

	if (accept_proxy_expects(section->accept_proxy, &s->cold->client))
		session_enter_preamble(s, section);
	else
		session_leave_preamble(s, section);
}

/* It was waited for what the client says, or that had just been found. */
static void sniff_again(struct session *s)
{
	const struct section *section = ruleset_find(s->engine->rules, &s->cold->local), *found;

	if (s->cold->spoken) {
		found = session_find_section(s);
		if (found) {
			session_enter_section(s, found);
			return;
		}
		s->cold->spoken = SNIFF_UNKNOWN;
	}
	session_copy_section(s, section);
	if (session_must_speak(s)) {
		session_enter_sniffing(s);
		return;
	}
	s->row->deadline_ms = 0;
	session_let_in(s);
}

/* ---- after a reload ---- */

void session_rules_changed(struct session *s)
{
	const struct section *section;

	switch (s->row->state) {
	case ROW_ACCEPTED:
	case ROW_PREAMBLE:
	case ROW_SNIFFING:
	case ROW_VERDICT:
	case ROW_RESOLVE:
	case ROW_CONNECTING:
	case ROW_STARTING:
	case ROW_QUEUED:
	case ROW_HELD:
		break;
	default:
		return; /* needs no rules any more */
	}
	ruleset_look_at_zones(s->engine->rules, s->row->fd[CLIENT], &s->cold->local, &s->cold->client);
	section = session_find_section(s);
	if (!section) {
		session_end(s, END_LOST, BY_RESET);
		return;
	}
	session_copy_section(s, section);
	FAULT_POINT();
	if (s->row->state == ROW_PREAMBLE) {
		preamble_cancel(&s->steps->preamble);
		begin_again(s);
		return;
	}
	if (s->row->state == ROW_SNIFFING) {
		session_cancel_sniffing(s);
		sniff_again(s);
		return;
	}
	if (s->row->state == ROW_CONNECTING && find_server_again(s)) {
		if (!s->agreeing)
			session_describe_dial(s); /* it may have accepted already: it shall not be called twice */
		return;
	}
	if (s->row->state == ROW_QUEUED || s->row->state == ROW_HELD) {
		waiting_cancel(&s->steps->waiting);
		go_on_waiting(s);
		return;
	}
	if (s->row->state == ROW_RESOLVE)
		session_leave_resolve(s);
	else if (s->row->state == ROW_CONNECTING)
		session_cancel_dial(s);
	else
		return; /* the spawner still knows the rules under which it was asked */
	session_give_server_back(s);
	s->cold->tried = 0;
	session_enter_route(s);
}

/* ---- after a worker's death ---- */

static int register_again(struct session *s)
{
	struct row *row = s->row;
	int rc = 0;

	/* it may have died before the client was registered at all; if it was, this changes nothing */
	if (row->state != ROW_HANDLER && row->state != ROW_STARTING)
		rc = loop_add(&s->engine->loop, row->fd[CLIENT], ROW_EVENTS,
		              row_token(s->engine->env.trio, row, CLIENT));
	if (rc == 0 && row->fd[SERVER] >= 0)
		rc = loop_add(&s->engine->loop, row->fd[SERVER], ROW_EVENTS | EPOLLOUT,
		              row_token(s->engine->env.trio, row, SERVER));
	return rc;
}

/* The rules that it was accepted under may be gone. */
static bool has_rules(struct session *s)
{
	const struct section *section;

	ruleset_look_at_zones(s->engine->rules, s->row->fd[CLIENT], &s->cold->local, &s->cold->client);
	if (s->cold->generation == s->engine->rules->generation)
		return true;
	section = session_find_section(s);
	if (!section)
		return false;
	session_copy_section(s, section);
	s->cold->tried = 0;
	return true;
}

/* Its server may be gone with the rules under which it was dialled. */
static void dial_again(struct session *s)
{
	struct row *row = s->row;

	/* what it was told before TLS, and has answered, is not written down: another one is called, or it once more */
	if (!session_agrees(s) && find_server_again(s)) {
		session_begin_step(s);
		session_describe_dial(s);
		dial_resume(&s->steps->dial, &s->engine->env, row, s->cold, session_dial_done, s);
		return;
	}
	for (enum side side = SERVER; side <= SECOND; side++) {
		int fd = row->fd[side];

		row->fd[side] = -1;
		if (fd >= 0)
			close(fd);
	}
	session_give_server_back(s);
	session_enter_route(s);
}

/* What was counted for a turn that it was about to take is given back. */
static void wait_again(struct session *s)
{
	session_begin_step(s);
	session_give_server_back(s);
	limits_give_kind(&s->engine->limits, s->cold, LIMIT_SERVICE);
	limits_give_kind(&s->engine->limits, s->cold, LIMIT_GLOBAL);
	go_on_waiting(s);
}

static void adopt_by_state(struct session *s)
{
	struct step_env *env = &s->engine->env;

	switch (s->row->state) {
	case ROW_RELAY:
	case ROW_RESETTING:
	case ROW_CLOSING:
		relay_resume(&s->relay, session_relay_owner(s), s->row);
		break;
	case ROW_STARTING:
	case ROW_HANDLER:
		handler_resume(&session_begin_step(s)->handler, env, s->row, s->cold, session_handler_done, s);
		break;
	case ROW_LINGER:
		session_enter_linger(s);
		break;
	case ROW_PREAMBLE:
		if (preamble_was_whole(s->cold))
			session_take_header(s);
		else
			begin_again(s);
		break;
	case ROW_SNIFFING:
		session_give_server_back(s); /* likewise */
		sock_wake_at(s->row->fd[CLIENT], 1);
		session_begin_step(s);
		sniff_again(s);
		break;
	case ROW_VERDICT:
		session_give_server_back(s); /* its route is not taken before the state changes */
		verdict_resume(&session_begin_step(s)->verdict, env, s->row, s->cold, section_of(s)->acp_timeout_ms,
		               session_verdict_done, s);
		break;
	case ROW_CONNECTING:
		dial_again(s);
		break;
	case ROW_RESOLVE:
		session_give_server_back(s);
		session_enter_route(s);
		break;
	case ROW_QUEUED:
	case ROW_HELD:
		wait_again(s);
		break;
	default: /* ROW_ACCEPTED: nothing was decided, nothing counted that is not in the row */
		for (int i = 0; i < LIMIT_KINDS; i++) {
			limits_give(&s->engine->limits, s->cold->limit[i]);
			s->cold->limit[i] = 0;
		}
		limits_give(&s->engine->limits, s->cold->wait.key);
		s->cold->wait.key = 0;
		session_enter_preamble(s, section_of(s));
		break;
	}
}

static bool needs_server(const struct row *row)
{
	return row->state == ROW_RELAY || row->state == ROW_RESETTING || row->state == ROW_CLOSING;
}

static bool needs_rules(const struct row *row)
{
	return row->state == ROW_ACCEPTED || row->state == ROW_PREAMBLE || row->state == ROW_SNIFFING ||
	       row->state == ROW_VERDICT || row->state == ROW_RESOLVE || row->state == ROW_CONNECTING ||
	       row->state == ROW_QUEUED || row->state == ROW_HELD;
}

void session_adopt(struct session *s)
{
	struct row *row = s->row;
	int rc;

	s->seen = PERHAPS_EVENTS;
	recover_row(row);
	if (row->state == ROW_ENDING || row->state == ROW_ABORTING) {
		session_refuse(s, (enum end)row->end, (enum why)row->why,
		               row->state == ROW_ABORTING ? BY_RESET : BY_CLOSE);
		return;
	}
	if (row->fd[CLIENT] < 0 || (needs_server(row) && row->fd[SERVER] < 0) || (needs_rules(row) && !has_rules(s))) {
		row_set_state(row, ROW_ABORTING); /* no step of ours has begun that could be cancelled */
		session_end(s, END_LOST, BY_RESET);
		return;
	}
	rc = register_again(s);
	if (rc < 0) {
		row_set_state(row, ROW_ABORTING); /* likewise */
		session_unwatched(s, rc);
		return;
	}
	if (needs_server(row))
		chain_resume(s->engine, s->index);
	recording_resume(s);
	if (needs_server(row))
		ejecting_resume(s);
	adopt_by_state(s);
}

/* ---- each of them ---- */

void engine_take_up(struct engine *e, uint32_t i)
{
	struct session *s = &e->sessions[i];

	*s = (struct session){.engine = e,
	                      .row = trio_row(e->env.trio, i),
	                      .cold = trio_cold(e->env.trio, i),
	                      .index = i,
	                      .queued = s->queued};
	session_adopt(s);
}

struct session *engine_session(struct engine *e, uint32_t i)
{
	if (engine_row_moves(e, i))
		return NULL;
	if (!e->sessions[i].row)
		engine_take_up(e, i);
	return engine_row_in_use(e, i) ? &e->sessions[i] : NULL;
}

void engine_for_each(struct engine *e, void (*fn)(struct session *s))
{
	for (uint32_t i = 0; i < e->env.trio->rows_used && engine_live(e) > 0; i++) {
		struct session *s = engine_row_in_use(e, i) ? engine_session(e, i) : NULL;

		if (s)
			fn(s);
	}
}
