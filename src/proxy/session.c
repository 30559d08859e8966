#include "proxy/session_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/sock.h"
#include "proxy/ask.h"
#include "proxy/eject.h"
#include "proxy/ejecting.h"
#include "proxy/recording.h"
#include "proxy/route.h"
#include "takeover/position.h"
#include "takeover/row_state.h"

/*
 * accepted -> (preamble) -> access -> (sniffing) -> (verdict) -> route -> (resolve) -> dial -> relay -> end
 *                                                                  \-> handler -----------------------> end
 *
 * Where there is no place, or no server, access and route lead to (wait), and that back to them.
 */

static int64_t now_ms(struct session *s)
{
	return s->engine->loop.now_ms;
}

/* ---- accepted ---- */

void session_copy_section(struct session *s, const struct section *section)
{
	struct row_cold *cold = s->cold;

	cold->section = section->index;
	cold->generation = s->engine->rules->generation;
	cold->label = s->engine->rules->labels[section->index];
	s->row->service = (uint16_t)s->engine->rules->services[section->index];
	cold->timeout_ms = section->timeout_ms;
	cold->half_close_timeout_ms = section->half_close_timeout_ms;
	cold->keepalive_ms = section->keepalive_ms < UINT32_MAX ? (uint32_t)section->keepalive_ms : UINT32_MAX;
	cold->access_log = (uint8_t)section->access_log;
	cold->access_interval_ms = section->access_interval_ms;
}

void session_start(struct session *s, const struct section *section)
{
	struct engine *e = s->engine;
	int rc = loop_add(&e->loop, s->row->fd[CLIENT], ROW_EVENTS, row_token(e->env.trio, s->row, CLIENT));

	session_copy_section(s, section);
	tally_accepted(s);
	SPIN_PLANT_ROW(&e->loop, "TCPPROXY_ROW_SPINS", s->row->fd[CLIENT], row_token(e->env.trio, s->row, CLIENT));
	if (rc < 0)
		session_unwatched(s, rc);
	else
		session_enter_preamble(s, section);
}

/* ---- preamble: who is the client? ---- */

static void preamble_done(void *arg, enum preamble_outcome outcome)
{
	struct session *s = arg;
	const struct preamble *p = &s->steps->preamble;

	tally_preamble(s, outcome, p->version, p->why);
	switch (outcome) {
	case PREAMBLE_HEADER:
		session_header_came(s, p);
		session_enter_access(s, section_of(s));
		break;
	case PREAMBLE_NONE:
		session_leave_preamble(s, section_of(s));
		break;
	case PREAMBLE_PROBE:
		session_end_probe(s);
		break;
	case PREAMBLE_BAD:
		session_refuse(s, END_BAD_PROXY, p->why, BY_RESET);
		break;
	case PREAMBLE_LOST:
		session_end(s, END_LOST, BY_RESET);
		break;
	}
}

void session_enter_preamble(struct session *s, const struct section *section)
{
	struct engine *e = s->engine;

	if (!s->cold->met && accept_proxy_expects(section->accept_proxy, &s->cold->client))
		preamble_start(&session_begin_step(s)->preamble, &e->preambles, &e->env, s->row, s->cold, section,
		               s->seen & EPOLLIN, preamble_done, s);
	else
		session_enter_access(s, section);
}

void session_leave_preamble(struct session *s, const struct section *section)
{
	s->cold->met = 1;
	s->row->deadline_ms = 0;
	row_set_state(s->row, ROW_ACCEPTED);
	session_enter_access(s, section);
}

void session_take_header(struct session *s)
{
	struct engine *e = s->engine;

	preamble_take_on(&session_begin_step(s)->preamble, &e->preambles, &e->env, s->row, s->cold, preamble_done, s);
}

/* ---- access: rules, limits, program ---- */

static void linger_done(void *arg)
{
	session_refuse(arg, END_DENIED, WHY_ACP, BY_CLOSE);
}

void session_enter_linger(struct session *s)
{
	linger_start(&session_begin_step(s)->linger, &s->engine->env, s->row, linger_done, s);
}

void session_verdict_done(void *arg, enum verdict_outcome outcome)
{
	struct session *s = arg;

	switch (outcome) {
	case VERDICT_GRANTED:
		session_enter_route(s);
		break;
	case VERDICT_DENIED:
		session_enter_linger(s);
		break;
	case VERDICT_LOST:
		session_end(s, END_LOST, BY_RESET);
		break;
	}
}

void session_let_in(struct session *s)
{
	const struct section *section = section_of(s);

	if (session_must_speak(s)) {
		session_enter_sniffing(s);
		return;
	}
	if (section->dscp.client)
		sock_dscp(s->row->fd[CLIENT], section->dscp.client - 1u);
	s->cold->server_index = section->n_servers == 1 ? 0 : UINT32_MAX;
	if (section->acp)
		verdict_start(&session_begin_step(s)->verdict, &s->engine->env, s->row, s->cold,
		              section->acp_timeout_ms, session_verdict_done, s);
	else
		session_enter_route(s);
}

static void enter_limits(struct session *s, const struct section *section)
{
	struct limits *limits = &s->engine->limits;
	enum row_state wait = session_stands_behind(s);
	enum why why = WHY_NONE;

	if (!wait) {
		why = limits_take_place(limits, s->engine->rules, section, s->cold);
		wait = why ? session_waits_for(s, true) : ROW_FREE;
	}
	if (wait) {
		session_enter_wait(s, wait);
		return;
	}
	if (!why)
		why = limits_take_client(limits, s->engine->rules, section, s->cold);
	if (why)
		session_refuse(s, END_LIMIT, why, BY_RESET);
	else
		session_let_in(s);
}

void session_enter_access(struct session *s, const struct section *section)
{
	enum why why = session_why_denied(s, section);
	enum chain_way way = why ? CHAIN_OPEN : chain_look(s);

	if (way == CHAIN_UNSURE) {
		engine_again(s->engine, s->index);
		return;
	}
	if (way == CHAIN_LOOP)
		why = WHY_LOOP;
	if (why) {
		session_refuse(s, END_DENIED, why, BY_RESET);
		return;
	}
	enter_limits(s, section);
}

/* ---- sniffing: what the client says first leads to its section ---- */

void session_enter_section(struct session *s, const struct section *found)
{
	enum why why;

	session_copy_section(s, found);
	why = session_why_denied_there(s, found);
	if (why)
		session_refuse(s, END_DENIED, why, BY_RESET);
	else
		session_let_in(s);
}

static void sniffing_done(void *arg, const struct section *found)
{
	struct session *s = arg;
	const struct sniffing *p = &s->steps->sniffing;

	if (!found) {
		session_refuse(s, p->end, p->why, p->end == END_CLIENT_FIN ? BY_CLOSE : BY_RESET);
		return;
	}
	if (s->cold->spoken != SNIFF_SILENT)
		s->seen |= EPOLLIN; /* what was looked at */
	tally_section(s, found);
	session_enter_section(s, found);
}

/* What comes before TLS was heard. */
static void talking_done(void *arg, enum talking_outcome outcome)
{
	struct session *s = arg;
	const struct talking *t = &s->steps->talking;

	switch (outcome) {
	case TALKING_OVER:
		s->seen |= EPOLLIN; /* what was looked at */
		if (session_must_speak(s))
			session_enter_sniffing(s);
		else
			session_let_in(s);
		break;
	case TALKING_CANCEL:
		session_cancel_everywhere(s);
		session_end(s, END_CLIENT_FIN, BY_CLOSE);
		break;
	case TALKING_END:
		session_refuse(s, t->end, t->why, t->end == END_CLIENT_FIN ? BY_CLOSE : BY_RESET);
		break;
	case TALKING_LOST:
		session_end(s, END_LOST, BY_RESET);
		break;
	}
}

void session_enter_sniffing(struct session *s)
{
	struct engine *e = s->engine;

	if (session_must_talk(s)) {
		session_enter_talking(s, talking_done);
		return;
	}
	sniffing_start(&session_begin_step(s)->sniffing, &e->early, &e->env, s->row, s->cold, e->rules->config,
	               section_of(s), s->seen & EPOLLIN, sniffing_done, s);
}

/* ---- route: which server; again after each that failed ---- */

void session_give_server_back(struct session *s)
{
	if (s->cold->limit[LIMIT_SERVER]) {
		limits_give_kind(&s->engine->limits, s->cold, LIMIT_SERVER);
		waiting_wake(&s->engine->waiting);
	}
	chain_forget(s->engine, s->index);
}

/* This server will not do. `end` is what the record says if no other does. */
static void server_failed(struct session *s, enum end end, enum why why)
{
	uint32_t i = s->cold->server_index;

	s->cold->tried |= 1ULL << (i < ROUTE_POOL_MAX ? i : ROUTE_POOL_MAX - 1);
	s->cold->last_failure = (uint8_t)end;
	s->cold->last_why = (uint8_t)why;
	tally_failed(s, end);
	session_give_server_back(s);
}

static void enter_dial(struct session *s);

/* The client has waited long enough already. */
static bool out_of_time(struct session *s)
{
	return s->row->deadline_ms && now_ms(s) >= s->row->deadline_ms;
}

static void took_too_long(struct session *s)
{
	s->cold->last_failure = END_CONNECT_TIMEOUT;
	s->cold->last_why = WHY_NONE;
	if (session_waits_for(s, false))
		session_enter_wait(s, session_waits_for(s, false));
	else
		session_end(s, END_CONNECT_TIMEOUT, BY_RESET);
}

/* None is left. What the last one said counts for more than that the others are full. */
static void no_server(struct session *s, enum route_result result)
{
	enum row_state wait = session_waits_for(s, result == ROUTE_ALL_FULL);

	if (wait)
		session_enter_wait(s, wait);
	else if (s->cold->last_failure)
		session_refuse(s, (enum end)s->cold->last_failure, (enum why)s->cold->last_why, BY_RESET);
	else if (result == ROUTE_ALL_FULL)
		session_refuse(s, END_LIMIT, WHY_SERVER_MAX, BY_RESET);
	else if (result == ROUTE_ALL_DOWN || section_of(s)->n_servers == 0)
		session_refuse(s, END_NO_SERVER, WHY_NONE, BY_RESET);
	else
		session_refuse(s, END_CONNECT_FAILED, WHY_DISABLED, BY_RESET); /* none was even tried */
}

/* Where its server is remembered, under the number that is put into its row; NULL: nowhere. */
static const struct stick *session_sticks(struct session *s, const struct section *section)
{
	const struct stick *stick = &s->engine->stick;
	const struct pool *pool = &s->engine->rules->pools[section->index];

	s->cold->stick = 0;
	if (!section->stick.time_ms || pool->n < 2 || !stick->memory)
		return NULL;
	s->cold->stick = stick_key(stick, &s->cold->client, pool->line);
	return stick;
}

void session_enter_route(struct session *s)
{
	const struct section *section = section_of(s);
	struct engine *e = s->engine;
	enum row_state wait = session_goes_back(s) ? ROW_HELD : session_stands_behind(s);
	const struct stick *stick = session_sticks(s, section);
	enum route_result result;

	if (wait) {
		session_enter_wait(s, wait);
		return;
	}
	if (s->row->deadline_ms == 0 && section->connect_timeout_ms)
		s->row->deadline_ms = now_ms(s) + 3 * section->connect_timeout_ms;
	if (out_of_time(s)) {
		took_too_long(s);
		return;
	}
	result = route_next(e->rules, section, e->world, &e->limits,
	                    &(struct route_client){.tried = s->cold->tried,
	                                           .now_ms = now_ms(s),
	                                           .patient = session_is_patient(s),
	                                           .addr = &s->cold->client,
	                                           .stick = stick,
	                                           .stick_key = s->cold->stick},
	                    &s->cold->server_index);
	if (result == ROUTE_FOUND) {
		const struct pool *pool = &e->rules->pools[section->index];

		s->cold->server = (struct addr){.family = AF_UNSPEC};
		FAULT_POINT();
		s->cold->limit[LIMIT_SERVER] = pool->limit_keys[s->cold->server_index];
		FAULT_POINT();
		s->cold->target = pool->targets[s->cold->server_index];
		tally_server(s);
		if (section->servers[s->cold->server_index].kind == SERVER_PROGRAM)
			session_enter_handler(s);
		else
			enter_dial(s);
		return;
	}
	no_server(s, result);
}

/* ---- wait: until there is a place, or a server ---- */

void session_take_turn(struct session *s)
{
	enum row_state state = (enum row_state)s->row->state;

	if (limits_take_place(&s->engine->limits, s->engine->rules, section_of(s), s->cold)) {
		session_enter_wait(s, state); /* another one was faster */
		return;
	}
	s->cold->tried = 0;
	s->cold->last_failure = 0;
	if (session_before_access(s)) {
		session_let_in(s);
		return;
	}
	session_tries(s);
	session_enter_route(s);
}

static void wait_done(void *arg, enum waiting_outcome outcome)
{
	struct session *s = arg;

	switch (outcome) {
	case WAITING_TURN:
		session_take_turn(s);
		break;
	case WAITING_OVER:
		/* a backup may have room, for which it has not waited */
		if (s->row->state == ROW_QUEUED && !session_before_access(s))
			session_take_turn(s);
		else
			session_wait_over(s, (enum row_state)s->row->state);
		break;
	case WAITING_RESET:
		s->row->flags |= ROWFLAG_CLIENT_RESET;
		session_end(s, END_CLIENT_RESET, BY_RESET);
		break;
	}
}

void session_enter_wait(struct session *s, enum row_state state)
{
	session_wait_begin(s, state, wait_done);
}

/* ---- resolve: the server's name has no answer yet ---- */

static void name_does_not_resolve(struct session *s)
{
	session_say_failed(s, target_error_text(TARGET_NO_ADDRESS));
	if (s->cold->target < TARGETS_MAX)
		target_not_there(&s->engine->world->experience[s->cold->target], now_ms(s), TARGET_NO_ADDRESS);
	server_failed(s, END_UNRESOLVED, WHY_NONE);
	session_enter_route(s);
}

static void resolve_timeout(void *arg)
{
	struct session *s = arg;

	session_leave_resolve(s);
	name_does_not_resolve(s);
}

static void enter_resolve(struct session *s, int64_t time_ms)
{
	row_set_state(s->row, ROW_RESOLVE);
	s->engine->n_resolving++;
	timer_set(&s->engine->loop, &session_begin_step(s)->resolve, now_ms(s) + time_ms, resolve_timeout, s);
}

void session_targets_changed(struct session *s)
{
	const struct target *t = &s->engine->world->targets.list[s->cold->target];

	if (s->row->state != ROW_RESOLVE || atomic_load(&t->state) == TARGET_UNKNOWN)
		return;
	session_leave_resolve(s);
	if (atomic_load(&t->state) == TARGET_UNRESOLVED)
		name_does_not_resolve(s);
	else
		enter_dial(s);
}

/* ---- dial; then the relay ---- */

static struct session *session_of(struct relay *r)
{
	return (struct session *)((char *)r - offsetof(struct session, relay));
}

static void relay_done(struct relay *r, enum relay_outcome outcome)
{
	struct session *s = session_of(r);

	session_end(s, s->row->end ? (enum end)s->row->end : END_LOST, outcome == RELAY_CLOSE ? BY_CLOSE : BY_RESET);
}

static void relay_again(struct relay *r)
{
	struct session *s = session_of(r);

	engine_again(s->engine, s->index);
}

const struct relay_owner *session_relay_owner(struct session *s)
{
	struct relay_owner *owner = &s->engine->relay_owner;

	*owner = (struct relay_owner){.env = &s->engine->env, .done = relay_done, .again = relay_again};
	return owner;
}

static void connected(struct session *s, uint32_t server_events)
{
	uint32_t seen[2] = {s->seen, server_events};

	target_worked(&s->engine->world->experience[s->cold->target], now_ms(s));
	s->cold->connected_us = clock_mono_us();
	s->row->deadline_ms = 0;
	session_waits_no_more(s);
	tally_connected(s);
	recording_begin(s);
	ejecting_connected(s);
	session_no_more_steps(s);
	relay_start(&s->relay, session_relay_owner(s), s->row, seen);
}

static void agreeing_done(void *arg, enum agreeing_outcome outcome)
{
	struct session *s = arg;

	if (outcome == AGREEING_DONE) {
		connected(s, PERHAPS_EVENTS | EPOLLOUT);
		return;
	}
	session_say_failed(s, session_why_not_agreed(outcome));
	session_drop_server(s);
	ejecting_failed(s, false);
	server_failed(s, outcome == AGREEING_TIMEOUT ? END_CONNECT_TIMEOUT : END_CONNECT_FAILED, WHY_NONE);
	session_enter_route(s);
}

void session_dial_done(void *arg, enum dial_outcome outcome)
{
	struct session *s = arg;
	int rc = outcome == DIAL_CONNECTED ? session_send_header(s) : 0;

	if (outcome == DIAL_CONNECTED && rc == 0) {
		if (session_agrees(s))
			session_enter_agreeing(s, agreeing_done);
		else
			connected(s, s->steps->dial.seen);
		return;
	}
	if (outcome == DIAL_CONNECTED)
		session_drop_server(s);
	if (rc == -ESTALE) { /* it has done nothing wrong */
		session_give_server_back(s);
		session_enter_route(s);
		return;
	}
	if (rc < 0)
		s->steps->dial.error = -rc;
	session_dial_failed(s, outcome);
	target_failed(&s->engine->world->experience[s->cold->target], now_ms(s), s->steps->dial.error);
	ejecting_failed(s, s->steps->dial.missing || !eject_is_servers(s->steps->dial.error));
	server_failed(s, outcome == DIAL_TIMEOUT ? END_CONNECT_TIMEOUT : END_CONNECT_FAILED,
	              session_why_dial_failed(s));
	session_enter_route(s);
}

static void enter_dial(struct session *s)
{
	int64_t deadline = session_dial_deadline(s);
	const struct target *t;

	if (out_of_time(s)) { /* it has waited for the name */
		session_give_server_back(s);
		took_too_long(s);
		return;
	}
	if (s->cold->target == TARGET_NONE) {
		name_does_not_resolve(s);
		return;
	}
	t = &s->engine->world->targets.list[s->cold->target];
	if (atomic_load(&t->state) == TARGET_UNRESOLVED) {
		name_does_not_resolve(s);
		return;
	}
	if (atomic_load(&t->state) == TARGET_UNKNOWN) {
		enter_resolve(s, deadline ? deadline - now_ms(s) : 10000);
		return;
	}
	session_begin_step(s);
	session_describe_dial(s);
	s->steps->dial.deadline_ms = deadline;
	dial_start(&s->steps->dial, &s->engine->env, s->row, s->cold, session_dial_done, s);
}

/* ---- what comes from outside ---- */

/* The client is gone before it was connected to a server. Bytes that it sent before are still for the
 * server, so only one that has said nothing is dropped at once. */
static void client_gone_early(struct session *s)
{
	if (position_error_pending(s->row->fd[CLIENT])) /* left there: a successor sees it, too */
		s->row->flags |= ROWFLAG_CLIENT_RESET;
	if (s->row->flags & ROWFLAG_CLIENT_RESET && sock_unread(s->row->fd[CLIENT]) <= 0)
		session_end(s, END_CLIENT_RESET, BY_RESET);
}

void session_event(struct session *s, enum side side, uint32_t events)
{
	if (side == CLIENT)
		s->seen |= (uint16_t)events;
	switch (s->row->state) {
	case ROW_VERDICT:
		if (side == CLIENT && events & EPOLLERR)
			client_gone_early(s);
		else
			verdict_event(&s->steps->verdict);
		break;
	case ROW_PREAMBLE:
		if (side == CLIENT)
			preamble_event(&s->steps->preamble, events);
		break;
	case ROW_SNIFFING:
		if (side == CLIENT && s->talking)
			talking_event(&s->steps->talking);
		else if (side == CLIENT)
			sniffing_event(&s->steps->sniffing, events);
		break;
	case ROW_RESOLVE:
		if (side == CLIENT && events & EPOLLERR)
			client_gone_early(s);
		break;
	case ROW_CONNECTING:
		if (side == CLIENT && events & EPOLLERR)
			client_gone_early(s);
		else if (s->agreeing && side == SERVER)
			agreeing_event(&s->steps->agreeing);
		else if (!s->agreeing && (side == SERVER || side == SECOND)) /* a banner waits until it is connected */
			dial_event(&s->steps->dial, side, events);
		break;
	case ROW_RELAY:
	case ROW_RESETTING:
	case ROW_CLOSING:
		if (side == CLIENT || side == SERVER)
			relay_event(&s->relay, side, events);
		break;
	case ROW_HANDLER:
		if (side == SECOND)
			handler_event(&s->steps->handler);
		break;
	case ROW_QUEUED:
	case ROW_HELD:
		if (side == CLIENT)
			waiting_event(&s->steps->waiting, events);
		break;
	case ROW_LINGER:
		if (side == CLIENT)
			linger_event(&s->steps->linger, events);
		break;
	default:
		break;
	}
	session_moved(s);
}

void session_run(struct session *s)
{
	if (s->row->state == ROW_ACCEPTED)
		session_enter_access(s, section_of(s));
	if (s->row->state == ROW_RELAY || s->row->state == ROW_RESETTING || s->row->state == ROW_CLOSING)
		relay_run(&s->relay);
	session_moved(s);
}

void session_answer(struct session *s, uint32_t kind, int fd)
{
	if (s->row->state == ROW_STARTING) {
		handler_answer(&s->steps->handler, kind, fd);
		if (s->row->state == ROW_HANDLER)
			session_program_worked(s);
		return;
	}
	if (s->row->state == ROW_VERDICT)
		verdict_answer(&s->steps->verdict, kind);
	if (fd >= 0)
		close(fd);
}

void session_spawner_lost(struct session *s)
{
	if (s->row->state == ROW_VERDICT)
		verdict_spawner_lost(&s->steps->verdict);
	else if (s->row->state == ROW_STARTING)
		handler_spawner_lost(&s->steps->handler);
}
