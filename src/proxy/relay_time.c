/*
 * relay_time.c - how long a connection may be silent, and waiting for what no event tells.
 */
#include "os/pipe.h"
#include "os/sock.h"
#include "proxy/relay_parts.h"

#define FIRST_LOOK_MS   1
#define LONGEST_LOOK_MS 100
#define KEEPALIVE_AT_MS 30000 /* a connection that lives so long has probes set at its server, too */

/* Bytes that reached a receiver's kernel: moved, less what is parked or unacknowledged. Grows while a
 * slow reader reads. */
static uint64_t delivered(struct relay *r)
{
	uint64_t sum = 0;

	for (enum side s = CLIENT; s <= SERVER; s++) {
		const struct flow_row *flow = &r->row->flow[s];
		int parked = flow->pipe_read >= 0 ? pipe_filled(flow->pipe_read) : 0;
		int unsent = sock_unsent(r->row->fd[other(s)]);

		sum += flow->moved - (uint64_t)(parked > 0 ? parked : 0) - (uint64_t)(unsent > 0 ? unsent : 0);
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
	int64_t idle = cold_of(r)->timeout_ms;
	int64_t half = relay_half_closed(r) ? cold_of(r)->half_close_timeout_ms : 0;

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

	if (!allowed || r->owner->env->loop->now_ms < r->row->active_ms + allowed)
		return false;
	if (r->row->end == END_NONE || r->row->end == END_CLIENT_FIN || r->row->end == END_SERVER_FIN)
		r->row->end = (uint8_t)end;
	relay_finish(r, RELAY_ABORT);
	return true;
}

/* Acknowledgements leave no trace but the counts themselves: more was delivered, though nothing was
 * moved since the last look. */
static void look_for_life(struct relay *r)
{
	uint32_t moved = (uint32_t)(r->row->flow[CLIENT].moved + r->row->flow[SERVER].moved);
	uint32_t now_delivered = (uint32_t)delivered(r);
	bool comparable = r->looked && moved == r->moved;

	/* the first look at what is under way has nothing to compare with: it is taken for life */
	if (comparable ? now_delivered != r->delivered : under_way(r))
		r->row->active_ms = r->owner->env->loop->now_ms;
	r->looked = true;
	r->moved = moved;
	r->delivered = now_delivered;
}

/* RESETTING and CLOSING: no event tells that the last byte was acknowledged, so look, more and more
 * rarely. */
static void relay_time_look_again(void *arg)
{
	struct relay *r = arg;

	if (r->row->state == ROW_RESETTING) {
		enum side victim = was_reset(r, CLIENT) ? SERVER : CLIENT;

		if (relay_all_acknowledged(r, victim, false)) {
			relay_finish(r, RELAY_ABORT);
			return;
		}
	} else if (relay_all_acknowledged(r, CLIENT, true) && relay_all_acknowledged(r, SERVER, true)) {
		relay_finish(r, RELAY_CLOSE);
		return;
	}
	look_for_life(r);
	if (expired(r))
		return;
	timer_set(r->owner->env->loop, &r->timer, r->owner->env->loop->now_ms + r->wait_ms, relay_time_look_again, r);
	if (r->wait_ms < LONGEST_LOOK_MS)
		r->wait_ms = (uint8_t)(r->wait_ms * 2 < LONGEST_LOOK_MS ? r->wait_ms * 2 : LONGEST_LOOK_MS);
}

void relay_plan_look(struct relay *r, int64_t in_ms)
{
	r->wait_ms = FIRST_LOOK_MS;
	timer_set(r->owner->env->loop, &r->timer, r->owner->env->loop->now_ms + in_ms, relay_time_look_again, r);
}

static void set_keepalive(struct relay *r)
{
	if (r->row->flags & ROWFLAG_KEEPALIVE_SET)
		return;
	r->row->flags |= ROWFLAG_KEEPALIVE_SET;
	if (cold_of(r)->keepalive_ms && !is_unix(r, SERVER))
		sock_keepalive(r->row->fd[SERVER], cold_of(r)->keepalive_ms);
}

static void relay_time_tick(void *arg);

/* When must we look next? No timer is moved when bytes move: it compares when it fires. */
static void plan(struct relay *r, bool may_acknowledge)
{
	struct loop *loop = r->owner->env->loop;
	enum end end;
	int64_t allowed = silence_allowed_ms(r, &end);
	int64_t at = 0;

	if (allowed) {
		at = r->row->active_ms + allowed;
		/* a slow reader: see from time to time whether it acknowledges */
		if (may_acknowledge && loop->now_ms + allowed / 4 + 1 < at)
			at = loop->now_ms + allowed / 4 + 1;
	}
	if (!(r->row->flags & ROWFLAG_KEEPALIVE_SET)) {
		int64_t keepalive_at = loop->now_ms + KEEPALIVE_AT_MS;

		if (cold_of(r)->keepalive_ms / 2 < KEEPALIVE_AT_MS)
			keepalive_at = loop->now_ms + cold_of(r)->keepalive_ms / 2;
		if (cold_of(r)->keepalive_ms && (!at || keepalive_at < at))
			at = keepalive_at;
	}
	if (at)
		timer_set(loop, &r->timer, at, relay_time_tick, r);
}

void relay_plan_tick(struct relay *r)
{
	plan(r, true); /* perhaps; it costs less to look later than to ask now */
}

static void relay_time_tick(void *arg)
{
	struct relay *r = arg;

	look_for_life(r);
	if (r->owner->env->loop->now_ms - cold_of(r)->connected_us / 1000 >= KEEPALIVE_AT_MS ||
	    cold_of(r)->keepalive_ms / 2 < KEEPALIVE_AT_MS)
		set_keepalive(r);
	if (!expired(r))
		plan(r, under_way(r));
}
