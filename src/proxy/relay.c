#include "proxy/relay.h"

#include <errno.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "proxy/flow.h"
#include "takeover/position.h"

#define TURN_BUDGET      (1024 * 1024) /* bytes of one direction in one turn */
#define FIRST_LOOK_MS    1
#define LONGEST_LOOK_MS  100
#define KEEPALIVE_AT_MS  30000 /* a connection that lives so long has probes set at its server, too */
#define NO_PIPE_WAIT_MS  20

static enum side other(enum side s)
{
	return s == CLIENT ? SERVER : CLIENT;
}

static uint8_t reset_flag(enum side s)
{
	return s == CLIENT ? ROWFLAG_CLIENT_RESET : ROWFLAG_SERVER_RESET;
}

static bool is_unix(const struct relay *r, enum side s)
{
	return r->row->flags & (s == CLIENT ? ROWFLAG_CLIENT_UNIX : ROWFLAG_SERVER_UNIX);
}

static bool was_reset(const struct relay *r, enum side s)
{
	return r->row->flags & reset_flag(s);
}

static void finish(struct relay *r, enum relay_outcome outcome)
{
	relay_cancel(r);
	r->over = true;
	r->done(r->arg, outcome);
}

/* ---- who ended it ---- */

static void note_fin(struct relay *r, enum side s)
{
	if (r->row->end == END_NONE)
		r->row->end = s == CLIENT ? END_CLIENT_FIN : END_SERVER_FIN;
}

/* An error of a socket is told once, to whoever asks first: so it is written down at once. A reset
 * counts for more than the other side's earlier FIN (that stream was cut), but not more than the
 * FIN of the same side (it had said all it wanted). */
static void note_reset(struct relay *r, enum side s)
{
	enum end other_fin = s == CLIENT ? END_SERVER_FIN : END_CLIENT_FIN;
	bool cut = r->row->end == other_fin && !(r->row->flow[s].flags & FLOW_EOF);

	if (r->row->end == END_NONE || cut)
		r->row->end = s == CLIENT ? END_CLIENT_RESET : END_SERVER_RESET;
	barrier();
	FAULT_POINT();
	r->row->flags |= reset_flag(s);
	FAULT_POINT();
	r->readable[s] = r->hung_up[s] = true; /* what came before it can still be read */
}

/* ---- the end of an input ---- */

/* The stream holds one byte more than we took out of it: that is a FIN. */
static bool fin_in_stream(struct relay *r, enum side s)
{
	struct tcp_facts facts;

	if (is_unix(r, s) || sock_facts(r->row->fd[s], &facts) < 0)
		return false;
	return tcp_fin_received(facts.state) || facts.bytes_received > r->row->flow[s].moved;
}

static void input_ended(struct relay *r, enum side s)
{
	struct flow_row *flow = &r->row->flow[s];

	if ((was_reset(r, s) || (r->resumed && !is_unix(r, s))) && !fin_in_stream(r, s)) {
		note_reset(r, s);
		FAULT_POINT();
		flow->flags |= FLOW_RESET;
		return;
	}
	note_fin(r, s); /* first: a successor does not come here again */
	barrier();
	FAULT_POINT();
	flow->flags |= FLOW_EOF;
	FAULT_POINT();
}

/* ---- one direction ---- */

static void watch_output(struct relay *r, enum side s)
{
	struct step_env *env = r->env;

	r->writable[s] = false;
	if (r->watched[s])
		return;
	r->watched[s] = true;
	loop_change(env->loop, r->row->fd[s], ROW_EVENTS | EPOLLOUT,
		    row_token(env->trio, r->row, s));
}

static enum flow_stop move(struct relay *r, enum side s, struct flow_io *io)
{
	enum flow_stop stop;

	if (r->row->flow[s].flags & FLOW_DISCARD)
		return flow_discard(io);
	stop = flow_drain(io);
	if (stop != FLOW_EMPTY || (io->row->flags & FLOW_EOF))
		return stop;
	/* splice would block on a socket that is not nonblocking, and stops for ever at urgent data */
	if (r->env->inherited || r->urgent[s] || (!is_unix(r, CLIENT) && !is_unix(r, SERVER)))
		return flow_peek(io);
	stop = flow_splice(io);
	return stop == FLOW_NO_PIPE ? flow_peek(io) : stop;
}

static void pass_on_end(struct relay *r, enum side s)
{
	struct flow_row *flow = &r->row->flow[s];

	if (!(flow->flags & FLOW_EOF) || flow->flags & (FLOW_SHUT | FLOW_DISCARD) ||
	    flow->pipe_read >= 0)
		return;
	FAULT_POINT();
	shutdown(r->row->fd[other(s)], SHUT_WR);
	FAULT_POINT();
	flow->flags |= FLOW_SHUT;
}

/* The input of side s has been dealt with for good. */
static bool flow_over(const struct flow_row *flow)
{
	return flow->flags & (FLOW_SHUT | FLOW_RESET) ||
	       ((flow->flags & FLOW_DISCARD) && (flow->flags & FLOW_EOF));
}

static void run_direction(struct relay *r, enum side s)
{
	struct flow_row *flow = &r->row->flow[s];
	bool parked = flow->pipe_read >= 0;
	struct flow_io io = {
		.source = r->row->fd[s],
		.dest = r->row->fd[other(s)],
		.row = flow,
		.source_tcp = !is_unix(r, s),
		.to_the_end = r->hung_up[s] || r->urgent[s],
		.scratch = r->env->scratch,
		.scratch_len = SCRATCH_SIZE,
		.pool = &r->env->pool,
		.budget = TURN_BUDGET,
	};

	if (flow_over(flow))
		return;
	if (!(flow->flags & FLOW_DISCARD) && !r->writable[other(s)])
		return;
	if (!parked && !r->readable[s])
		return;
	switch (move(r, s, &io)) {
	case FLOW_EMPTY:
		r->readable[s] = false;
		break;
	case FLOW_FULL:
		watch_output(r, other(s));
		break;
	case FLOW_END:
		r->readable[s] = false;
		input_ended(r, s);
		break;
	case FLOW_SOURCE_ERROR:
		note_reset(r, s);
		input_ended(r, s);
		break;
	case FLOW_DEST_ERROR:
		note_reset(r, other(s));
		break;
	case FLOW_BUDGET:
	case FLOW_NO_PIPE:
		break;
	}
	if (io.progress && !(flow->flags & FLOW_DISCARD))
		r->row->active_ms = r->env->loop->now_ms;
	pass_on_end(r, s);
}

/* ---- what follows from the state of both ---- */

static bool half_closed(const struct relay *r)
{
	/* a side that was reset has ended, too, even while what came before cannot be delivered */
	return was_reset(r, CLIENT) || was_reset(r, SERVER) ||
	       (r->row->flow[CLIENT].flags | r->row->flow[SERVER].flags) & (FLOW_EOF | FLOW_RESET);
}

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
	r->readable[other(to)] = true;
}

static void look_again(void *arg);
static void plan_tick(struct relay *r);

static void await_acknowledgement(struct relay *r, uint8_t state)
{
	if (r->row->state == state)
		return;
	FAULT_POINT();
	r->row->state = state;
	FAULT_POINT();
	r->row->active_ms = r->env->loop->now_ms;
	r->wait_ms = FIRST_LOOK_MS;
	timer_set(r->env->loop, &r->timer, r->env->loop->now_ms, look_again, r);
}

static bool all_acknowledged(struct relay *r, enum side s)
{
	/* one more for the FIN of a clean end: the kernel looks after that by itself */
	int allowed = r->row->state == ROW_CLOSING ? 1 : 0;
	int unsent;

	if (was_reset(r, s))
		return true; /* nobody there to acknowledge */
	if (is_unix(r, s) && r->row->state == ROW_CLOSING)
		return true; /* the peer can read what is there after we closed */
	unsent = sock_unsent(r->row->fd[s]);
	return unsent <= allowed;
}

static void settle(struct relay *r)
{
	for (enum side s = CLIENT; s <= SERVER; s++)
		if (was_reset(r, s))
			cannot_deliver(r, s);
	if (was_reset(r, CLIENT) && was_reset(r, SERVER)) {
		finish(r, RELAY_ABORT);
		return;
	}
	for (enum side s = CLIENT; s <= SERVER && r->row->state != ROW_CLOSING; s++)
		if (was_reset(r, s) && r->row->flow[s].flags & (FLOW_SHUT | FLOW_RESET)) {
			await_acknowledgement(r, ROW_RESETTING);
			if (all_acknowledged(r, other(s)))
				finish(r, RELAY_ABORT);
			return;
		}
	if (r->row->state == ROW_RELAY && r->row->flow[CLIENT].flags & FLOW_SHUT &&
	    r->row->flow[SERVER].flags & FLOW_SHUT) {
		r->row->state = ROW_CLOSING;
		if (all_acknowledged(r, CLIENT) && all_acknowledged(r, SERVER)) {
			finish(r, RELAY_CLOSE);
			return;
		}
		r->row->state = ROW_RELAY;
		await_acknowledgement(r, ROW_CLOSING);
	}
}

void relay_run(struct relay *r)
{
	/* the two take turns, so neither starves the other */
	run_direction(r, CLIENT);
	run_direction(r, SERVER);
	/* a reset noticed by the second concerns the first */
	settle(r);
	if (r->over)
		return;
	if (half_closed(r) && !r->half_close_planned && r->row->state == ROW_RELAY) {
		r->half_close_planned = true; /* from now on another time limit holds */
		plan_tick(r);
	}
	for (enum side s = CLIENT; s <= SERVER; s++) {
		const struct flow_row *flow = &r->row->flow[s];
		bool to = r->writable[other(s)] || (flow->flags & FLOW_DISCARD);

		if (!flow_over(flow) && to && (r->readable[s] || flow->pipe_read >= 0)) {
			r->again(r->arg);
			return;
		}
	}
}

static void note_events(struct relay *r, enum side side, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		r->readable[side] = true;
	if (events & EPOLLPRI)
		r->urgent[side] = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		r->hung_up[side] = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		r->writable[side] = true;
}

void relay_event(struct relay *r, enum side side, uint32_t events)
{
	if (events & EPOLLERR) {
		int error = sock_take_error(r->row->fd[side]);

		FAULT_POINT();
		if (error)
			note_reset(r, side);
	}
	note_events(r, side, events);
	relay_run(r);
}

/* ---- time ---- */

/* Bytes that reached a receiver's kernel: moved, less what is parked or unacknowledged. Grows while a
 * slow reader reads. */
static uint64_t delivered(struct relay *r)
{
	uint64_t sum = 0;

	for (enum side s = CLIENT; s <= SERVER; s++) {
		const struct flow_row *flow = &r->row->flow[s];
		int parked = flow->pipe_read >= 0 ? pipe_filled(flow->pipe_read) : 0;
		int unsent = sock_unsent(r->row->fd[other(s)]);

		sum += flow->moved - (uint64_t)(parked > 0 ? parked : 0) -
		       (uint64_t)(unsent > 0 ? unsent : 0);
	}
	return sum;
}

/* Something is on its way to a receiver: then its acknowledgements are life, too. */
static bool under_way(struct relay *r)
{
	for (enum side s = CLIENT; s <= SERVER; s++)
		if (r->row->flow[s].pipe_read >= 0 || sock_unsent(r->row->fd[s]) > 0)
			return true;
	return false;
}

/* How long both directions may be silent now, 0: for ever; *end says what it means. */
static int64_t silence_allowed_ms(const struct relay *r, enum end *end)
{
	int64_t idle = r->cold->timeout_ms;
	int64_t half = half_closed(r) ? r->cold->half_close_timeout_ms : 0;

	if (half && (!idle || half < idle)) {
		*end = END_HALF_CLOSE_TIMEOUT;
		return half;
	}
	*end = END_IDLE_TIMEOUT;
	return idle;
}

static bool expired(struct relay *r)
{
	enum end end;
	int64_t allowed = silence_allowed_ms(r, &end);

	if (!allowed || r->env->loop->now_ms < r->row->active_ms + allowed)
		return false;
	if (r->row->end == END_NONE || r->row->end == END_CLIENT_FIN || r->row->end == END_SERVER_FIN)
		r->row->end = (uint8_t)end;
	finish(r, RELAY_ABORT);
	return true;
}

/* Acknowledgements leave no trace but the counts themselves: more was delivered, though nothing was
 * moved since the last look. */
static void look_for_life(struct relay *r)
{
	uint64_t moved = r->row->flow[CLIENT].moved + r->row->flow[SERVER].moved;
	uint64_t now_delivered = delivered(r);
	bool comparable = r->looked && moved == r->moved;

	/* the first look at what is under way has nothing to compare with: it is taken for life */
	if (comparable ? now_delivered != r->delivered : under_way(r))
		r->row->active_ms = r->env->loop->now_ms;
	r->looked = true;
	r->moved = moved;
	r->delivered = now_delivered;
}

/* RESETTING and CLOSING: no event tells that the last byte was acknowledged, so look, more and more
 * rarely. */
static void look_again(void *arg)
{
	struct relay *r = arg;

	if (r->row->state == ROW_RESETTING) {
		enum side victim = was_reset(r, CLIENT) ? SERVER : CLIENT;

		if (all_acknowledged(r, victim)) {
			finish(r, RELAY_ABORT);
			return;
		}
	} else if (all_acknowledged(r, CLIENT) && all_acknowledged(r, SERVER)) {
		finish(r, RELAY_CLOSE);
		return;
	}
	look_for_life(r);
	if (expired(r))
		return;
	timer_set(r->env->loop, &r->timer, r->env->loop->now_ms + r->wait_ms, look_again, r);
	if (r->wait_ms < LONGEST_LOOK_MS)
		r->wait_ms = r->wait_ms * 2 < LONGEST_LOOK_MS ? r->wait_ms * 2 : LONGEST_LOOK_MS;
}

static void set_keepalive(struct relay *r)
{
	if (r->row->flags & ROWFLAG_KEEPALIVE_SET)
		return;
	r->row->flags |= ROWFLAG_KEEPALIVE_SET;
	if (r->cold->keepalive_ms && !is_unix(r, SERVER))
		sock_keepalive(r->row->fd[SERVER], r->cold->keepalive_ms);
}

static void tick(void *arg);

/* When must we look next? No timer is moved when bytes move: it compares when it fires. */
static void plan_tick(struct relay *r)
{
	struct loop *loop = r->env->loop;
	enum end end;
	int64_t allowed = silence_allowed_ms(r, &end);
	int64_t at = 0;

	if (allowed) {
		at = r->row->active_ms + allowed;
		/* a slow reader: see from time to time whether it acknowledges */
		if (under_way(r) && loop->now_ms + allowed / 4 + 1 < at)
			at = loop->now_ms + allowed / 4 + 1;
	}
	if (!(r->row->flags & ROWFLAG_KEEPALIVE_SET)) {
		int64_t keepalive_at = loop->now_ms + KEEPALIVE_AT_MS;

		if (r->cold->keepalive_ms / 2 < KEEPALIVE_AT_MS)
			keepalive_at = loop->now_ms + r->cold->keepalive_ms / 2;
		if (r->cold->keepalive_ms && (!at || keepalive_at < at))
			at = keepalive_at;
	}
	if (at)
		timer_set(loop, &r->timer, at, tick, r);
}

static void tick(void *arg)
{
	struct relay *r = arg;

	look_for_life(r);
	if (r->env->loop->now_ms - r->cold->connected_us / 1000 >= KEEPALIVE_AT_MS ||
	    r->cold->keepalive_ms / 2 < KEEPALIVE_AT_MS)
		set_keepalive(r);
	if (!expired(r))
		plan_tick(r);
}

static void init(struct relay *r, struct step_env *env, struct row *row, struct row_cold *cold,
		 void (*done)(void *arg, enum relay_outcome outcome), void (*again)(void *arg),
		 void *arg)
{
	*r = (struct relay){
		.env = env,
		.row = row,
		.cold = cold,
		.done = done,
		.again = again,
		.arg = arg,
		.writable = {true, true},
	};
}

/* What was printed for the client before the server's first byte: sent already, or still parked. */
static uint64_t banner_bytes(struct relay *r)
{
	struct flow_row *down = &r->row->flow[SERVER];
	struct position client;
	int parked = down->pipe_read >= 0 ? pipe_filled(down->pipe_read) : 0;

	if (!(r->row->flags & ROWFLAG_GRANTED) || is_unix(r, CLIENT) ||
	    position_ask(r->row->fd[CLIENT], false, false, &client) < 0)
		return 0;
	return client.written + (uint64_t)(parked > 0 ? parked : 0);
}

void relay_start(struct relay *r, struct step_env *env, struct row *row, struct row_cold *cold,
		 const uint32_t seen[2], void (*done)(void *arg, enum relay_outcome outcome),
		 void (*again)(void *arg), void *arg)
{
	init(r, env, row, cold, done, again, arg);
	r->watched[SERVER] = true;
	for (enum side s = CLIENT; s <= SERVER; s++)
		note_events(r, s, seen[s]);
	FAULT_POINT();
	cold->base[SERVER] = banner_bytes(r);
	row->active_ms = env->loop->now_ms;
	barrier();
	FAULT_POINT();
	row->state = ROW_RELAY;
	FAULT_POINT();
	plan_tick(r);
	relay_run(r);
}

void relay_cancel(struct relay *r)
{
	timer_clear(r->env->loop, &r->timer);
}

/* ---- after a worker's death ---- */

/* Whether a FIN is among what was consumed may be a guess; but bytes are taken all that were sent, or
 * none of them, and `moved` is as it was before. */
static uint64_t consumed(const struct position *from, uint64_t moved, uint64_t arrived)
{
	uint64_t other_guess = from->fin ? from->consumed + 1 : from->consumed - 1;

	if (from->certain || from->consumed == moved || from->consumed == arrived)
		return from->consumed;
	return other_guess == moved || other_guess == arrived ? other_guess : from->consumed;
}

/* Bytes that the destination has, and the source still shows: they were sent, but not yet taken. */
static void take_what_was_sent(struct relay *r, enum side s, const struct position *from,
			       const struct position *to)
{
	struct flow_row *flow = &r->row->flow[s];
	uint64_t arrived = to->written - r->cold->base[s];
	uint64_t taken = consumed(from, flow->moved, arrived);
	uint64_t sent = arrived > taken ? arrived - taken : 0;

	while (sent > 0) {
		ssize_t n = recv(r->row->fd[s], NULL, sent, MSG_DONTWAIT | MSG_TRUNC);

		FAULT_POINT();
		if (n <= 0)
			break;
		sent -= (uint64_t)n;
	}
	flow->moved = arrived;
}

/* Through a pipe bytes are in one place only; but the last of them may not be counted yet. The end that is
 * TCP knows how many there were. */
static void count_again(struct relay *r, enum side s, const struct position *from,
			const struct position *to)
{
	struct flow_row *flow = &r->row->flow[s];
	int parked = flow->pipe_read >= 0 ? pipe_filled(flow->pipe_read) : 0;

	if (!is_unix(r, s)) {
		if (from->certain || !was_reset(r, s))
			flow->moved = from->consumed;
	} else if (!(flow->flags & FLOW_DISCARD)) {
		flow->moved = to->written - r->cold->base[s] + (uint64_t)(parked > 0 ? parked : 0);
	}
}

/* Puts one direction right. Before its FIN was passed on, what the destination was given is known exactly, even if
 * it has been reset since. */
static void put_right(struct relay *r, enum side s, const struct position *from,
		      const struct position *to)
{
	struct flow_row *flow = &r->row->flow[s];
	bool both_tcp = !is_unix(r, CLIENT) && !is_unix(r, SERVER);

	if (flow->pipe_read < 0 || flow->pipe_write < 0)
		flow->pipe_read = flow->pipe_write = -1;
	if (flow->flags & (FLOW_EOF | FLOW_RESET))
		return;
	if (!both_tcp || flow->flags & FLOW_DISCARD)
		count_again(r, s, from, to);
	else if (flow->pipe_read < 0)
		take_what_was_sent(r, s, from, to);
}

static void ask_positions(struct relay *r, struct position *at)
{
	for (enum side s = CLIENT; s <= SERVER; s++) {
		/* whom we never sent a FIN can only have been closed by a reset */
		bool no_fin_sent = !(r->row->flow[other(s)].flags & FLOW_EOF);

		if (is_unix(r, s))
			continue;
		if (position_error_pending(r->row->fd[s]))
			note_reset(r, s);
		FAULT_POINT();
		barrier();
		position_ask(r->row->fd[s], s == SERVER, was_reset(r, s) || no_fin_sent, &at[s]);
		if (at[s].closed && no_fin_sent)
			note_reset(r, s);
	}
}

void relay_resume(struct relay *r, struct step_env *env, struct row *row, struct row_cold *cold,
		  void (*done)(void *arg, enum relay_outcome outcome), void (*again)(void *arg),
		  void *arg)
{
	struct position at[2] = {{0}, {0}};

	init(r, env, row, cold, done, again, arg);
	r->resumed = true;
	for (enum side s = CLIENT; s <= SERVER; s++) /* its events were told to somebody else */
		r->readable[s] = r->hung_up[s] = true;
	ask_positions(r, at);
	put_right(r, CLIENT, &at[CLIENT], &at[SERVER]);
	put_right(r, SERVER, &at[SERVER], &at[CLIENT]);
	if (row->state == ROW_RELAY) {
		plan_tick(r);
	} else {
		r->wait_ms = FIRST_LOOK_MS;
		timer_set(env->loop, &r->timer, env->loop->now_ms, look_again, r);
	}
	again(arg);
}
