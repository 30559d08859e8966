/*
 * relay_resume.c - a connection that another worker had begun: the kernel is asked how far both streams got.
 */
#include <sys/socket.h>
#include "base/fault.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "proxy/flow.h"
#include "proxy/relay_parts.h"
#include "takeover/position.h"

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
static void take_what_was_sent(struct relay *r, enum side s, uint64_t sent)
{
	while (sent > 0) {
		ssize_t n = sock_recv(r->row->fd[s], NULL, sent, MSG_TRUNC);

		FAULT_POINT();
		if (n <= 0)
			break;
		sent -= (uint64_t)n;
	}
}

static bool step_is_open(const struct relay *r, enum side s)
{
	const struct copy_step *step = &r->owner->env->trio->step;

	return step->row == (int32_t)row_index(r->owner->env->trio, r->row) && step->side == s;
}

/* Between two TCP sockets. What left the source has reached the destination, or the pipe, or is in the scratch. If
 * the destination has more, it was sent and not yet taken (peek). If it has been reset meanwhile, it may have less.
 * Returns false if bytes are missing. */
static bool balance(struct relay *r, enum side s, const struct position *from, const struct position *to)
{
	struct flow_row *flow = &r->row->flow[s];
	struct copy_step *step = &r->owner->env->trio->step;
	bool open = step_is_open(r, s);
	int pipe = flow->pipe_read >= 0 ? flow->pipe_read : open ? step->pipe_read : -1;
	int parked = pipe >= 0 ? pipe_filled(pipe) : 0;
	uint64_t given = to->written + (uint64_t)parked - cold_of(r)->base[s];
	uint64_t taken = consumed(from, flow->moved, given);

	if (taken > given && !open && !to->closed)
		return false;
	/* after a batch there may be more steps to finish than spare pipes */
	if (open && taken > given && pipe < 0 && !pipepool_any_spare(&r->owner->env->pool, step))
		return false;
	if (given > taken)
		take_what_was_sent(r, s, given - taken);
	else if (open && (taken > given || parked > 0))
		flow_finish_copy(step, flow, r->owner->env->scratch, taken - flow->moved, taken - given);
	flow->moved = taken > given ? taken : given;
	FAULT_POINT();
	return true;
}

/* Nothing is in the scratch any more. A pipe with bytes in it that belong to no direction is of no use. */
static void close_step(struct relay *r)
{
	struct copy_step *step = &r->owner->env->trio->step;

	if (!step_is_open(r, CLIENT) && !step_is_open(r, SERVER))
		return;
	if (step->pipe_read >= 0 && pipe_filled(step->pipe_read) != 0)
		pipepool_discard(&step->pipe_read, &step->pipe_write);
	barrier();
	FAULT_POINT();
	step->row = -1;
	FAULT_POINT();
}

/* Through a pipe bytes are in one place only; but the last of them may not be counted yet. The end that is
 * TCP knows how many there were. */
static void count_again(struct relay *r, enum side s, const struct position *from, const struct position *to)
{
	struct flow_row *flow = &r->row->flow[s];
	int parked = flow->pipe_read >= 0 ? pipe_filled(flow->pipe_read) : 0;

	if (!is_unix(r, s)) {
		/* the one byte more may be a FIN; what is more than that was moved */
		if (from->certain || !was_reset(r, s) || from->consumed > flow->moved + 1)
			flow->moved = from->consumed;
	} else if (!(flow->flags & FLOW_DISCARD)) {
		flow->moved = to->written - cold_of(r)->base[s] + (uint64_t)(parked > 0 ? parked : 0);
	}
}

/* Puts one direction right; false: it cannot be. Before its FIN was passed on, what the destination was given is known
 * exactly, even if it has been reset since. */
static bool put_right(struct relay *r, enum side s, const struct position *from, const struct position *to)
{
	struct flow_row *flow = &r->row->flow[s];
	bool both_tcp = !is_unix(r, CLIENT) && !is_unix(r, SERVER);

	if (flow->pipe_read < 0 || flow->pipe_write < 0)
		flow->pipe_read = flow->pipe_write = -1;
	if (flow->flags & (FLOW_EOF | FLOW_RESET))
		return true;
	if (both_tcp && !(flow->flags & FLOW_DISCARD))
		return balance(r, s, from, to);
	count_again(r, s, from, to);
	return true;
}

static void ask_positions(struct relay *r, struct position *at)
{
	for (enum side s = CLIENT; s <= SERVER; s++) {
		/* a socket to which we never sent a FIN can only have been closed by a reset */
		bool no_fin_sent = !(r->row->flow[other(s)].flags & FLOW_EOF);

		if (is_unix(r, s))
			continue;
		if (position_error_pending(r->row->fd[s]))
			relay_note_reset(r, s);
		FAULT_POINT();
		barrier();
		position_ask(r->row->fd[s], s == SERVER, was_reset(r, s) || no_fin_sent, &at[s]);
		if (at[s].closed && no_fin_sent)
			relay_note_reset(r, s);
	}
}

void relay_resume(struct relay *r, const struct relay_owner *owner, struct row *row)
{
	struct position at[2] = {{0}, {0}};
	bool whole;

	relay_init(r, owner, row);
	r->resumed = true;
	for (enum side s = CLIENT; s <= SERVER; s++) /* its events were told to another process */
		r->side[s].readable = r->side[s].hung_up = true;
	for (enum side s = CLIENT; s <= SERVER; s++)
		if (step_is_open(r, s))
			flow_settle_pipe(&owner->env->trio->step, &row->flow[s]);
	ask_positions(r, at);
	for (enum side s = CLIENT; s <= SERVER; s++)
		r->side[s].closed = at[s].closed || was_reset(r, s);
	whole = put_right(r, CLIENT, &at[CLIENT], &at[SERVER]);
	whole = put_right(r, SERVER, &at[SERVER], &at[CLIENT]) && whole;
	close_step(r);
	if (!whole) {
		relay_lose(r, "a worker died of it, and not all of its bytes are there");
		return;
	}
	if (row->state == ROW_RELAY)
		relay_plan_tick(r);
	else
		relay_plan_look(r, 0);
	owner->again(r);
}
