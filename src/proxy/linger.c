#include "proxy/linger.h"

#include <sys/socket.h>
#include "base/fault.h"
#include "os/sock.h"
#include "proxy/flow.h"
#include "takeover/row_state.h"

#define LINGER_PATIENCE_MS 2000  /* without any progress, at least */
#define STUCK_MS           30000 /* a banner that is not acknowledged for so long is given up */
#define LINGER_LOOK_MS     100

static void finish(struct lingering *l)
{
	timer_clear(l->env->loop, &l->timer);
	l->done(l->arg);
}

static struct flow_io io_of(struct lingering *l, enum side source)
{
	return (struct flow_io){
	        .source = l->row->fd[CLIENT],
	        .dest = l->row->fd[CLIENT],
	        .row = &l->row->flow[source],
	        .scratch = l->env->scratch,
	        .scratch_len = SCRATCH_SIZE,
	        .pool = &l->env->pool,
	        .budget = 16 * SCRATCH_SIZE,
	};
}

/* Returns false if the client is gone. */
static bool push(struct lingering *l)
{
	struct flow_io down = io_of(l, SERVER), up = io_of(l, CLIENT);
	enum flow_stop stop = flow_drain(&down);

	if (down.progress)
		l->since_ms = l->env->loop->now_ms;
	if (stop == FLOW_DEST_ERROR)
		return false;
	if (stop == FLOW_EMPTY && !l->shut) {
		shutdown(l->row->fd[CLIENT], SHUT_WR);
		l->shut = true;
		l->since_ms = l->env->loop->now_ms;
	}
	if (!l->client_done) {
		stop = flow_discard(&up);
		if (stop == FLOW_SOURCE_ERROR)
			return false;
		l->client_done = stop == FLOW_END;
		if (stop == FLOW_BUDGET)
			l->env->loop->busy = true;
	}
	return true;
}

/* What the client has taken by now, before we ask how long it has taken nothing: we may look late. */
static bool is_over(struct lingering *l)
{
	int64_t now = l->env->loop->now_ms;
	bool taken;

	if (!push(l))
		return true;
	taken = l->shut && sock_unsent(l->row->fd[CLIENT]) <= 0;
	return (taken && (l->client_done || now - l->since_ms >= LINGER_PATIENCE_MS)) || now - l->since_ms >= STUCK_MS;
}

static void linger_tick(void *arg)
{
	struct lingering *l = arg;

	if (is_over(l))
		finish(l);
	else
		timer_set(l->env->loop, &l->timer, l->env->loop->now_ms + LINGER_LOOK_MS, linger_tick, l);
}

void linger_start(struct lingering *l, struct step_env *env, struct row *row, void (*done)(void *arg), void *arg)
{
	*l = (struct lingering){.env = env, .row = row, .done = done, .arg = arg};
	l->since_ms = env->loop->now_ms;
	row_set_state(row, ROW_LINGER);
	loop_change(env->loop, row->fd[CLIENT], ROW_EVENTS | EPOLLOUT, row_token(env->trio, row, CLIENT));
	timer_set(env->loop, &l->timer, env->loop->now_ms, linger_tick, l);
}

void linger_event(struct lingering *l, uint32_t events)
{
	if (events & EPOLLERR) {
		finish(l);
		return;
	}
	linger_tick(l);
}

void linger_cancel(struct lingering *l)
{
	timer_clear(l->env->loop, &l->timer);
}
