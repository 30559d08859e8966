#include "proxy/session.h"

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
#include "proxy/ending.h"
#include "proxy/recording.h"
#include "proxy/route.h"
#include "proxy/tally.h"
#include "takeover/position.h"
#include "takeover/recover.h"

/*
 * accepted -> access -> (verdict) -> route -> (resolve) -> dial -> relay -> end
 *                                      \-> handler -----------------------> end
 */

static void enter_access(struct session *s, const struct section *section);
static void enter_route(struct session *s);

static const struct section *section_of(struct session *s)
{
	return &s->engine->rules->config->sections[s->cold->section];
}

static const struct server *server_of(struct session *s)
{
	const struct section *section = section_of(s);

	return s->cold->server_index < section->n_servers ? &section->servers[s->cold->server_index]
							  : NULL;
}

/* For log lines; buf holds ADDR_TEXT_MAX. */
static const char *client_text(struct session *s, char *buf)
{
	if (s->cold->client.family == AF_UNSPEC || s->cold->client.family == AF_UNIX)
		return "the client";
	return addr_format_port(&s->cold->client, buf);
}

static int64_t now_ms(struct session *s)
{
	return s->engine->loop.now_ms;
}

/* Another step: the one before has ended. */
static struct steps *begin(struct session *s)
{
	if (!s->stepping)
		s->steps = mem_alloc(sizeof(*s->steps));
	else
		memset(s->steps, 0, sizeof(*s->steps));
	s->stepping = true;
	return s->steps;
}

static void no_more_steps(struct session *s)
{
	if (s->stepping)
		free(s->steps);
	s->stepping = false;
}

/* ---- accepted ---- */

/* What an established connection needs of its section, copied: a reload keeps no old rules alive. */
static void copy_section(struct session *s, const struct section *section)
{
	struct row_cold *cold = s->cold;

	cold->section = section->index;
	cold->generation = s->engine->rules->generation;
	cold->label = s->engine->rules->labels[section->index];
	s->row->service = (uint16_t)s->engine->rules->service_numbers[section->service];
	cold->timeout_ms = section->timeout_ms;
	cold->half_close_timeout_ms = section->half_close_timeout_ms;
	cold->keepalive_ms = section->keepalive_ms < UINT32_MAX ? (uint32_t)section->keepalive_ms : UINT32_MAX;
	cold->access_log = (uint8_t)section->access_log;
	cold->access_interval_ms = section->access_interval_ms;
}

void session_start(struct session *s, const struct section *section)
{
	copy_section(s, section);
	tally_accepted(s);
	enter_access(s, section);
}

/* ---- access: rules, limits, program ---- */

static void parting_done(void *arg)
{
	session_end(arg, END_DENIED, BY_CLOSE);
}

static void verdict_done(void *arg, enum verdict_outcome outcome)
{
	struct session *s = arg;

	if (outcome == VERDICT_DENIED) {
		parting_start(&begin(s)->parting, &s->engine->env, s->row, parting_done, s);
		return;
	}
	enter_route(s);
}

static void enter_access(struct session *s, const struct section *section)
{
	if (!access_check(&section->access, &s->cold->client).let_in ||
	    service_is_out(&s->engine->world->services, s->row->service)) {
		session_end(s, END_DENIED, BY_RESET);
		return;
	}
	if (!limits_admit(&s->engine->limits, s->engine->rules, section, s->cold)) {
		session_end(s, END_LIMIT, BY_RESET);
		return;
	}
	s->cold->server_index = section->n_servers == 1 ? 0 : UINT32_MAX;
	if (section->acp)
		verdict_start(&begin(s)->verdict, &s->engine->env, s->row, s->cold, section->acp_timeout_ms,
			      verdict_done, s);
	else
		enter_route(s);
}

/* ---- route: which server; again after each that failed ---- */

static void give_server_back(struct session *s)
{
	limits_give(&s->engine->limits, s->cold->limit[LIMIT_SERVER]);
	s->cold->limit[LIMIT_SERVER] = 0;
}

/* This server will not do. `end` is what the record says if no other does. */
static void server_failed(struct session *s, enum end end)
{
	uint32_t i = s->cold->server_index;

	s->cold->tried |= 1ULL << (i < ROUTE_POOL_MAX ? i : ROUTE_POOL_MAX - 1);
	s->cold->last_failure = (uint8_t)end;
	tally_failed(s, end);
	give_server_back(s);
}

static void enter_dial(struct session *s);
static void enter_handler(struct session *s);

static void enter_route(struct session *s)
{
	const struct section *section = section_of(s);
	struct engine *e = s->engine;
	enum route_result result;

	if (s->row->deadline_ms == 0 && section->connect_timeout_ms)
		s->row->deadline_ms = now_ms(s) + 3 * section->connect_timeout_ms;
	result = route_next(e->rules, section, e->world, &e->limits, s->cold->tried, now_ms(s),
			    &s->cold->server_index);
	if (result == ROUTE_FOUND) {
		const struct pool *pool = &e->rules->pools[section->index];

		FAULT_POINT();
		s->cold->limit[LIMIT_SERVER] = pool->limit_keys[s->cold->server_index];
		FAULT_POINT();
		s->cold->target = pool->targets[s->cold->server_index];
		tally_server(s);
		if (section->servers[s->cold->server_index].kind == SERVER_PROGRAM)
			enter_handler(s);
		else
			enter_dial(s);
		return;
	}
	session_end(s, s->cold->last_failure	 ? (enum end)s->cold->last_failure
		       : result == ROUTE_ALL_FULL ? END_LIMIT
						  : END_CONNECT_FAILED,
		    BY_RESET);
}

/* ---- resolve: the server's name has no answer yet ---- */

static void leave_resolve(struct session *s)
{
	timer_clear(&s->engine->loop, &s->steps->resolve);
	s->engine->n_resolving--;
}

static void name_does_not_resolve(struct session *s)
{
	char client[ADDR_TEXT_MAX];

	log_error("connecting %s to %s: the name does not resolve",
		  client_text(s, client), server_of(s)->key);
	server_failed(s, END_UNRESOLVED);
	enter_route(s);
}

static void resolve_timeout(void *arg)
{
	struct session *s = arg;

	leave_resolve(s);
	name_does_not_resolve(s);
}

static void enter_resolve(struct session *s, int64_t time_ms)
{
	s->row->state = ROW_RESOLVE;
	s->engine->n_resolving++;
	timer_set(&s->engine->loop, &begin(s)->resolve, now_ms(s) + time_ms, resolve_timeout, s);
}

void session_targets_changed(struct session *s)
{
	const struct target *t = &s->engine->world->targets.list[s->cold->target];

	if (s->row->state != ROW_RESOLVE || atomic_load(&t->state) == TARGET_UNKNOWN)
		return;
	leave_resolve(s);
	if (atomic_load(&t->state) == TARGET_UNRESOLVED)
		name_does_not_resolve(s);
	else
		enter_dial(s);
}

/* ---- dial ---- */

static struct session *session_of(struct relay *r)
{
	return (struct session *)((char *)r - offsetof(struct session, relay));
}

static void relay_done(struct relay *r, enum relay_outcome outcome)
{
	struct session *s = session_of(r);

	session_end(s, s->row->end ? (enum end)s->row->end : END_LOST,
		    outcome == RELAY_CLOSE ? BY_CLOSE : BY_RESET);
}

static void relay_again(struct relay *r)
{
	struct session *s = session_of(r);

	engine_again(s->engine, s->index);
}

static const struct relay_owner *relay_owner(struct session *s)
{
	struct relay_owner *owner = &s->engine->relay_owner;

	*owner = (struct relay_owner){.env = &s->engine->env, .done = relay_done, .again = relay_again};
	return owner;
}

static void dial_done(void *arg, enum dial_outcome outcome)
{
	struct session *s = arg;
	struct target *t = &s->engine->world->targets.list[s->cold->target];
	uint32_t seen[2] = {s->seen};

	if (outcome == DIAL_CONNECTED) {
		target_worked(t);
		s->cold->connected_us = clock_mono_us();
		s->row->deadline_ms = 0;
		tally_connected(s);
		recording_begin(s);
		seen[SERVER] = s->steps->dial.seen;
		no_more_steps(s);
		relay_start(&s->relay, relay_owner(s), s->row, seen);
		return;
	}
	char client[ADDR_TEXT_MAX];

	log_error("connecting %s to %s: %s", client_text(s, client),
		  server_of(s)->key, strerror(s->steps->dial.error));
	target_failed(t, now_ms(s));
	server_failed(s, outcome == DIAL_TIMEOUT ? END_CONNECT_TIMEOUT : END_CONNECT_FAILED);
	enter_route(s);
}

/* When the present server must have answered; false: the client has waited long enough already. */
static bool dial_deadline(struct session *s, int64_t *ret)
{
	int64_t limit = section_of(s)->connect_timeout_ms;
	int64_t last = s->row->deadline_ms;

	*ret = limit ? now_ms(s) + limit : 0;
	if (last && (!*ret || last < *ret))
		*ret = last;
	return !last || now_ms(s) < last;
}

/* Everything that a dial needs and no row has. */
static void describe_dial(struct session *s)
{
	const struct section *section = section_of(s);
	const struct server *server = server_of(s);

	s->steps->dial.target = &s->engine->world->targets.list[s->cold->target];
	s->steps->dial.unix_path = server->kind == SERVER_UNIX ? server->path : NULL;
	s->steps->dial.source = &section->source;
	s->steps->dial.port = server->port ? server->port : s->cold->local.port;
	if (server->kind == SERVER_UNIX)
		s->row->flags |= ROWFLAG_SERVER_UNIX;
	else
		s->row->flags &= (uint8_t)~ROWFLAG_SERVER_UNIX;
}

static void prepare_dial(struct session *s)
{
	begin(s);
	describe_dial(s);
}

static void enter_dial(struct session *s)
{
	const struct target *t;
	int64_t deadline;

	if (!dial_deadline(s, &deadline)) {
		session_end(s, END_CONNECT_TIMEOUT, BY_RESET);
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
	prepare_dial(s);
	s->steps->dial.deadline_ms = deadline;
	dial_start(&s->steps->dial, &s->engine->env, s->row, s->cold, dial_done, s);
}

/* ---- handler ---- */

static void handler_done(void *arg, enum handler_outcome outcome)
{
	struct session *s = arg;

	switch (outcome) {
	case HANDLER_EXITED:
		session_end(s, END_HANDLER_EXIT, BY_CLOSE);
		break;
	case HANDLER_FAILED:
		session_end(s, END_CONNECT_FAILED, BY_RESET);
		break;
	case HANDLER_IDLE:
		session_end(s, END_IDLE_TIMEOUT, BY_RESET);
		break;
	}
}

static void enter_handler(struct session *s)
{
	s->cold->connected_us = clock_mono_us();
	tally_connected(s);
	recording_begin(s);
	handler_start(&begin(s)->handler, &s->engine->env, s->row, s->cold, handler_done, s);
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
	case ROW_RESOLVE:
		if (side == CLIENT && events & EPOLLERR)
			client_gone_early(s);
		break;
	case ROW_CONNECTING:
		if (side == CLIENT && events & EPOLLERR)
			client_gone_early(s);
		else if (side == SERVER || side == SECOND) /* a banner waits until it is connected */
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
	case ROW_LINGER:
		if (side == CLIENT)
			parting_event(&s->steps->parting, events);
		break;
	default:
		break;
	}
	tally_moved(s);
}

void session_run(struct session *s)
{
	if (s->row->state == ROW_RELAY || s->row->state == ROW_RESETTING ||
	    s->row->state == ROW_CLOSING)
		relay_run(&s->relay);
	tally_moved(s);
}

void session_answer(struct session *s, uint32_t kind, int fd)
{
	if (s->row->state == ROW_STARTING) {
		handler_answer(&s->steps->handler, kind, fd);
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

/* The server that is being dialled is one of the section's still, or again: its place may be another. */
static bool find_server_again(struct session *s)
{
	const struct pool *pool = &s->engine->rules->pools[s->cold->section];

	for (uint32_t i = 0; i < pool->n; i++)
		if (pool->targets[i] == s->cold->target &&
		    pool->limit_keys[i] == s->cold->limit[LIMIT_SERVER]) {
			s->cold->server_index = i;
			return true;
		}
	return false;
}

void session_rules_changed(struct session *s)
{
	const struct section *section;

	switch (s->row->state) {
	case ROW_VERDICT:
	case ROW_RESOLVE:
	case ROW_CONNECTING:
	case ROW_STARTING:
		break;
	default:
		return; /* needs no rules any more */
	}
	section = ruleset_find(s->engine->rules, &s->cold->local);
	if (!section) {
		session_end(s, END_LOST, BY_RESET);
		return;
	}
	copy_section(s, section);
	FAULT_POINT();
	if (s->row->state == ROW_CONNECTING && find_server_again(s)) {
		describe_dial(s); /* it may have accepted already: it shall not be called twice */
		return;
	}
	if (s->row->state == ROW_RESOLVE)
		leave_resolve(s);
	else if (s->row->state == ROW_CONNECTING)
		dial_cancel(&s->steps->dial);
	else
		return; /* the spawner still knows the rules under which it was asked */
	give_server_back(s);
	s->cold->tried = 0;
	enter_route(s);
}

/* ---- after a worker's death ---- */

static void register_again(struct session *s)
{
	struct row *row = s->row;

	/* it may have died before the client was registered at all; if it was, this changes nothing */
	if (row->state != ROW_HANDLER && row->state != ROW_STARTING)
		loop_add(&s->engine->loop, row->fd[CLIENT], ROW_EVENTS,
			 row_token(s->engine->env.trio, row, CLIENT));
	if (row->fd[SERVER] >= 0)
		loop_add(&s->engine->loop, row->fd[SERVER], ROW_EVENTS | EPOLLOUT,
			 row_token(s->engine->env.trio, row, SERVER));
}

/* The rules that it was accepted under may be gone. */
static bool has_rules(struct session *s)
{
	const struct section *section;

	if (s->cold->generation == s->engine->rules->generation)
		return true;
	section = ruleset_find(s->engine->rules, &s->cold->local);
	if (!section)
		return false;
	copy_section(s, section);
	s->cold->tried = 0;
	return true;
}

/* Its server may be gone with the rules under which it was dialled. */
static void dial_again(struct session *s)
{
	struct row *row = s->row;

	if (find_server_again(s)) {
		prepare_dial(s);
		dial_resume(&s->steps->dial, &s->engine->env, row, s->cold, dial_done, s);
		return;
	}
	for (enum side side = SERVER; side <= SECOND; side++) {
		int fd = row->fd[side];

		row->fd[side] = -1;
		if (fd >= 0)
			close(fd);
	}
	give_server_back(s);
	enter_route(s);
}

static void adopt_by_state(struct session *s)
{
	struct step_env *env = &s->engine->env;

	switch (s->row->state) {
	case ROW_RELAY:
	case ROW_RESETTING:
	case ROW_CLOSING:
		relay_resume(&s->relay, relay_owner(s), s->row);
		break;
	case ROW_STARTING:
	case ROW_HANDLER:
		handler_resume(&begin(s)->handler, env, s->row, s->cold, handler_done, s);
		break;
	case ROW_LINGER:
		parting_start(&begin(s)->parting, env, s->row, parting_done, s);
		break;
	case ROW_VERDICT:
		give_server_back(s); /* its route is not taken before the state changes */
		verdict_resume(&begin(s)->verdict, env, s->row, s->cold, section_of(s)->acp_timeout_ms,
			       verdict_done, s);
		break;
	case ROW_CONNECTING:
		dial_again(s);
		break;
	case ROW_RESOLVE:
		give_server_back(s);
		enter_route(s);
		break;
	default: /* ROW_ACCEPTED: nothing was decided, nothing counted that is not in the row */
		for (int i = 0; i < LIMIT_KINDS; i++) {
			limits_give(&s->engine->limits, s->cold->limit[i]);
			s->cold->limit[i] = 0;
		}
		enter_access(s, section_of(s));
		break;
	}
}

static bool needs_server(const struct row *row)
{
	return row->state == ROW_RELAY || row->state == ROW_RESETTING || row->state == ROW_CLOSING;
}

static bool needs_rules(const struct row *row)
{
	return row->state == ROW_ACCEPTED || row->state == ROW_VERDICT || row->state == ROW_RESOLVE ||
	       row->state == ROW_CONNECTING;
}

void session_adopt(struct session *s)
{
	struct row *row = s->row;

	s->seen = PERHAPS_EVENTS;
	recover_row(row);
	if (row->state == ROW_ENDING || row->state == ROW_ABORTING) {
		session_end(s, (enum end)row->end,
			    row->state == ROW_ABORTING ? BY_RESET : BY_CLOSE);
		return;
	}
	if (row->fd[CLIENT] < 0 || (needs_server(row) && row->fd[SERVER] < 0) ||
	    (needs_rules(row) && !has_rules(s))) {
		row->state = ROW_ABORTING; /* no step of ours has begun that could be cancelled */
		session_end(s, END_LOST, BY_RESET);
		return;
	}
	register_again(s);
	recording_resume(s);
	adopt_by_state(s);
}

/* ---- the end ---- */

/* was: the state that it leaves. */
static void cancel_step(struct session *s, uint8_t was)
{
	switch (was) {
	case ROW_VERDICT:
		verdict_cancel(&s->steps->verdict);
		break;
	case ROW_RESOLVE:
		leave_resolve(s);
		break;
	case ROW_CONNECTING:
		dial_cancel(&s->steps->dial);
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
	case ROW_LINGER:
		parting_cancel(&s->steps->parting);
		break;
	default:
		break;
	}
}

void session_end(struct session *s, enum end end, enum manner manner)
{
	struct engine *e = s->engine;
	struct row *row = s->row;

	uint8_t was = row->state;

	/* from here on nobody goes back: a step that is cancelled would look as if it had not begun */
	row->end = (uint8_t)end;
	barrier();
	FAULT_POINT();
	row->state = manner == BY_RESET ? ROW_ABORTING : ROW_ENDING;
	barrier();
	FAULT_POINT();
	cancel_step(s, was);
	no_more_steps(s);
	recording_stop(s);
	ending_record(s);
	tally_ended(s);
	barrier();
	ending_close(s, manner == BY_RESET);
	for (int i = 0; i < LIMIT_KINDS; i++) {
		limits_give(&e->limits, s->cold->limit[i]);
		FAULT_POINT();
		s->cold->limit[i] = 0;
	}
	barrier();
	FAULT_POINT();
	row->state = ROW_FREE;
	FAULT_POINT();
	engine_row_freed(e, s->index);
}
