#include "proxy/parting.h"

#include <sys/socket.h>
#include "base/fault.h"
#include "os/sock.h"
#include "proxy/flow.h"

#define PATIENCE_MS 2000  /* without any progress, at least */
#define STUCK_MS    30000 /* a banner that is not acknowledged for so long is given up */
#define LOOK_MS     100

static void finish(struct parting *l)
{
	timer_clear(l->env->loop, &l->timer);
	l->done(l->arg);
}

static struct flow_io io_of(struct parting *l, enum side source)
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
static bool push(struct parting *l)
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

static void tick(void *arg)
{
	struct parting *l = arg;
	int64_t since = l->env->loop->now_ms - l->since_ms;
	bool taken = l->shut && sock_unsent(l->row->fd[CLIENT]) <= 0;

	if (!push(l) || (taken && l->client_done) || (taken && since >= PATIENCE_MS) ||
	    since >= STUCK_MS) {
		finish(l);
		return;
	}
	timer_set(l->env->loop, &l->timer, l->env->loop->now_ms + LOOK_MS, tick, l);
}

void parting_start(struct parting *l, struct step_env *env, struct row *row, void (*done)(void *arg),
		  void *arg)
{
	*l = (struct parting){.env = env, .row = row, .done = done, .arg = arg};
	l->since_ms = env->loop->now_ms;
	FAULT_POINT();
	row->state = ROW_LINGER;
	FAULT_POINT();
	loop_change(env->loop, row->fd[CLIENT], ROW_EVENTS | EPOLLOUT,
		    row_token(env->trio, row, CLIENT));
	timer_set(env->loop, &l->timer, env->loop->now_ms, tick, l);
}

void parting_event(struct parting *l, uint32_t events)
{
	if (events & EPOLLERR) {
		finish(l);
		return;
	}
	tick(l);
}

void parting_cancel(struct parting *l)
{
	timer_clear(l->env->loop, &l->timer);
}
