#include "proxy/relay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "proxy/flow.h"
#include "proxy/relay_parts.h"
#include "takeover/position.h"
#include "takeover/row_state.h"

#define TURN_BUDGET (1024 * 1024) /* bytes of one direction in one turn */

/* ---- which side ended it ---- */

static void note_fin(struct relay *r, enum side s)
{
	if (r->row->end == END_NONE)
		r->row->end = s == CLIENT ? END_CLIENT_FIN : END_SERVER_FIN;
}

/* ---- the end of an input ---- */

/* The stream holds one byte more than we took out of it: that is a FIN. */
static bool fin_in_stream(struct relay *r, enum side s)
{
	struct sock_tcp_info info;

	if (is_unix(r, s) || sock_tcp_info(r->row->fd[s], &info) < 0)
		return false;
	return tcp_fin_received(info.state) || info.bytes_received > r->row->flow[s].moved;
}

static void input_ended(struct relay *r, enum side s)
{
	struct flow_row *flow = &r->row->flow[s];

	if ((was_reset(r, s) || (r->resumed && !is_unix(r, s))) && !fin_in_stream(r, s)) {
		relay_note_reset(r, s);
		FAULT_POINT();
		flow->flags |= FLOW_RESET;
		return;
	}
	relay_note_life(r);
	note_fin(r, s); /* first: a successor does not come here again */
	barrier();
	FAULT_POINT();
	flow->flags |= FLOW_EOF;
	FAULT_POINT();
}

/* ---- one direction ---- */

static void watch_output(struct relay *r, enum side s)
{
	struct step_env *env = r->owner->env;
	int rc;

	r->side[s].writable = false;
	if (r->side[s].watched)
		return;
	r->side[s].watched = true;
	rc = loop_change(env->loop, r->row->fd[s], ROW_EVENTS | EPOLLOUT, row_token(env->trio, r->row, s));
	if (rc < 0)
		r->unwatched = (uint8_t)-rc;
}

static void lose_unwatched(struct relay *r)
{
	char *why = mem_printf("it cannot be watched: %s", loop_error_text(r->unwatched));

	relay_lose(r, why);
	free(why);
}

/* After the end of s both directions have ended, and everything but our FIN to s was acknowledged. Not if others have
 * the socket, too: then close() says nothing. */
static bool last_word(struct relay *r, enum side s)
{
	if (r->owner->env->inherited || r->row->state != ROW_RELAY || !(r->row->flow[other(s)].flags & FLOW_SHUT))
		return false;
	return (is_unix(r, other(s)) || sock_unsent(r->row->fd[other(s)]) <= 0) &&
	       (is_unix(r, s) || sock_unsent(r->row->fd[s]) <= 1);
}

static void pass_on_end(struct relay *r, enum side s)
{
	struct flow_row *flow = &r->row->flow[s];

	if (!(flow->flags & FLOW_EOF) || flow->flags & (FLOW_SHUT | FLOW_DISCARD) || flow->pipe_read >= 0)
		return;
	FAULT_POINT();
	/* if that is all there is to do, close() says it, too */
	r->settled = last_word(r, s);
	if (!r->settled)
		shutdown(r->row->fd[other(s)], SHUT_WR);
	FAULT_POINT();
	flow->flags |= FLOW_SHUT;
}

/* The input of side s has been dealt with for good. */
static bool flow_over(const struct flow_row *flow)
{
	return flow->flags & (FLOW_SHUT | FLOW_RESET) || ((flow->flags & FLOW_DISCARD) && (flow->flags & FLOW_EOF));
}

static struct flow_tap *tap_of(struct relay *r)
{
	struct flow_tap *tap = r->owner->env->tap;

	return tap && tap->wants(tap, row_index(r->owner->env->trio, r->row)) ? tap : NULL;
}

static struct flow_io io_of(struct relay *r, enum side s)
{
	bool delays = s == CLIENT && !r->no_delay && !is_unix(r, SERVER);

	return (struct flow_io){
	        .tap = tap_of(r),
	        .source = r->row->fd[s],
	        .dest = r->row->fd[other(s)],
	        .row = &r->row->flow[s],
	        .source_tcp = !is_unix(r, s),
	        .dest_tcp = !is_unix(r, other(s)),
	        .to_the_end = r->side[s].hung_up || r->side[s].urgent,
	        .ends = r->side[s].ends && !r->side[s].urgent && !was_reset(r, s),
	        .no_splice = r->owner->env->inherited || r->side[s].urgent,
	        .no_copy = r->owner->env->inherited || r->side[s].closed,
	        /* what the client gets was seen to by its listener */
	        .delays = delays,
	        .start = delays ? cold_of(r)->preamble : 0,
	        .habit = &r->side[s].habit,
	        .step = &r->owner->env->trio->step,
	        .step_row = (int32_t)row_index(r->owner->env->trio, r->row),
	        .step_side = (uint8_t)s,
	        .scratch = r->owner->env->scratch,
	        .scratch_len = SCRATCH_SIZE,
	        .pool = &r->owner->env->pool,
	        .budget = TURN_BUDGET,
	};
}

static void run_direction(struct relay *r, enum side s)
{
	struct flow_row *flow = &r->row->flow[s];
	bool parked = flow->pipe_read >= 0;
	struct flow_io io;

	if (flow_over(flow))
		return;
	if (!(flow->flags & FLOW_DISCARD) && !r->side[other(s)].writable)
		return;
	if (!parked && !r->side[s].readable)
		return;
	io = io_of(r, s);
	switch (flow->flags & FLOW_DISCARD ? flow_discard(&io) : flow_move(&io)) {
	case FLOW_EMPTY:
		r->side[s].readable = false;
		break;
	case FLOW_FULL:
		watch_output(r, other(s));
		break;
	case FLOW_END:
		r->side[s].readable = false;
		input_ended(r, s);
		break;
	case FLOW_SOURCE_ERROR:
		if (!relay_note_error(r, s, false, io.error))
			return;
		input_ended(r, s);
		break;
	case FLOW_DEST_ERROR:
		if (!relay_note_error(r, other(s), true, io.error))
			return;
		break;
	case FLOW_BUDGET:
	case FLOW_OTHER_WAY:
		break;
	}
	if (s == CLIENT)
		r->no_delay = !io.delays;
	if (io.progress && !(flow->flags & FLOW_DISCARD))
		relay_note_life(r);
	pass_on_end(r, s);
}

/* ---- what follows from the state of both ---- */

/* Side `to` can take nothing any more: what is parked for it is dropped, what still comes is read
 * and thrown away. */
static void cannot_deliver(struct relay *r, enum side to)
{
	struct flow_row *flow = &r->row->flow[other(to)];

	if (flow->flags & FLOW_DISCARD)
		return;
	if (flow->pipe_read >= 0)
		pipepool_discard(&flow->pipe_read, &flow->pipe_write);
	FAULT_POINT();
	flow->flags |= FLOW_DISCARD;
	r->side[other(to)].readable = true;
}

static void await_acknowledgement(struct relay *r, enum row_state state)
{
	if (r->row->state == state)
		return;
	row_set_state(r->row, state);
	relay_note_life(r);
	relay_plan_look(r, 0);
}

static void settle(struct relay *r)
{
	for (enum side s = CLIENT; s <= SERVER; s++)
		if (was_reset(r, s))
			cannot_deliver(r, s);
	if (was_reset(r, CLIENT) && was_reset(r, SERVER)) {
		relay_finish(r, RELAY_ABORT);
		return;
	}
	for (enum side s = CLIENT; s <= SERVER && r->row->state != ROW_CLOSING; s++)
		if (was_reset(r, s) && r->row->flow[s].flags & (FLOW_SHUT | FLOW_RESET)) {
			await_acknowledgement(r, ROW_RESETTING);
			if (relay_all_acknowledged(r, other(s), false))
				relay_finish(r, RELAY_ABORT);
			return;
		}
	if (r->row->state == ROW_RELAY && r->row->flow[CLIENT].flags & FLOW_SHUT &&
	    r->row->flow[SERVER].flags & FLOW_SHUT) {
		if (r->settled || (relay_all_acknowledged(r, CLIENT, true) && relay_all_acknowledged(r, SERVER, true)))
			relay_finish(r, RELAY_CLOSE);
		else
			await_acknowledgement(r, ROW_CLOSING);
	}
}

void relay_run(struct relay *r)
{
	/* the two take turns, so neither starves the other */
	run_direction(r, CLIENT);
	if (!r->over)
		run_direction(r, SERVER);
	if (!r->over && r->unwatched) {
		lose_unwatched(r);
		return;
	}
	/* a reset noticed by the second concerns the first */
	if (!r->over)
		settle(r);
	if (r->over)
		return;
	if (relay_half_closed(r) && !r->half_close_planned && r->row->state == ROW_RELAY) {
		r->half_close_planned = true; /* from now on another time limit holds */
		relay_plan_tick(r);
	}
	for (enum side s = CLIENT; s <= SERVER; s++) {
		const struct flow_row *flow = &r->row->flow[s];
		bool to = r->side[other(s)].writable || (flow->flags & FLOW_DISCARD);

		if (!flow_over(flow) && to && (r->side[s].readable || flow->pipe_read >= 0)) {
			r->owner->again(r);
			return;
		}
	}
}

static void note_events(struct relay *r, enum side side, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		r->side[side].readable = true;
	if (events & EPOLLPRI)
		r->side[side].urgent = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		r->side[side].hung_up = true;
	if (events & EPOLLRDHUP && !(events & (EPOLLHUP | EPOLLERR | EPOLLPRI | EPOLLMSG)))
		r->side[side].ends = true;
	if (events & (EPOLLHUP | EPOLLERR))
		r->side[side].closed = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		r->side[side].writable = true;
}

void relay_event(struct relay *r, enum side side, uint32_t events)
{
	if (events & EPOLLERR) {
		int error = sock_take_error(r->row->fd[side]);

		FAULT_POINT();
		if (error)
			relay_note_reset(r, side);
	}
	note_events(r, side, events);
	relay_run(r);
}

/* ---- from the beginning ---- */

/* What was printed for the client before the server's first byte: sent already, or still parked. */
static uint64_t banner_bytes(struct relay *r)
{
	struct flow_row *down = &r->row->flow[SERVER];
	struct position client;
	int parked = down->pipe_read >= 0 ? pipe_filled(down->pipe_read) : 0;

	if (!(r->row->flags & ROWFLAG_GRANTED) || is_unix(r, CLIENT))
		return 0;
	if (position_error_pending(r->row->fd[CLIENT])) /* asking may take it */
		relay_note_reset(r, CLIENT);
	if (position_ask(r->row->fd[CLIENT], false, was_reset(r, CLIENT), &client) < 0)
		return 0;
	if (client.closed) /* only now, or its error was taken: no FIN of ours can have closed it */
		relay_note_reset(r, CLIENT);
	return client.written + (uint64_t)(parked > 0 ? parked : 0);
}

void relay_start(struct relay *r, const struct relay_owner *owner, struct row *row, const uint32_t seen[2])
{
	relay_init(r, owner, row);
	r->side[SERVER].watched = true;
	r->resumed = (seen[CLIENT] | seen[SERVER]) & EPOLLMSG;
	for (enum side s = CLIENT; s <= SERVER; s++)
		note_events(r, s, seen[s]);
	FAULT_POINT();
	cold_of(r)->base[SERVER] = banner_bytes(r) + cold_of(r)->said - cold_of(r)->answered;
	row->active_ms = owner->env->loop->now_ms;
	row_set_state(row, ROW_RELAY);
	relay_plan_tick(r);
	relay_run(r);
}
