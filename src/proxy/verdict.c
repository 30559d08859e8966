#include "proxy/verdict.h"

#include <errno.h>
#include <inttypes.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/record.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "program/question.h"
#include "proxy/ask.h"
#include "proxy/flow.h"
#include "takeover/row_state.h"

#define GRACE_MS 5000 /* beyond the program's own limit, which the spawner watches */

static void finish(struct verdict *v, enum verdict_outcome outcome)
{
	timer_clear(v->env->loop, &v->timer);
	/* written down before the question is over: a successor that finds none would ask again */
	if (outcome == VERDICT_GRANTED)
		v->row->flags |= ROWFLAG_GRANTED;
	else
		v->row->end = END_DENIED;
	barrier();
	FAULT_POINT();
	v->cold->question = 0;
	FAULT_POINT();
	v->done(v->arg, outcome);
}

static void verdict_tick(void *arg);

static void plan(struct verdict *v)
{
	int64_t at = v->asked ? v->deadline_ms : v->env->loop->now_ms + ASK_RETRY_MS;

	timer_set(v->env->loop, &v->timer, at < v->deadline_ms ? at : v->deadline_ms, verdict_tick, v);
}

static void ask(struct verdict *v)
{
	int fds[1] = {v->row->flow[SERVER].pipe_write};

	v->asked = ask_send(v->env, v->row, v->cold, ASK_ACCESS, fds, 1) == 0;
	plan(v);
}

static void verdict_tick(void *arg)
{
	struct verdict *v = arg;

	if (v->env->loop->now_ms >= v->deadline_ms) {
		char client[ADDR_TEXT_MAX];

		log_error("asking the access program about %s: no answer in time: denied, id=%" PRIu64,
		          addr_format_port(&v->cold->client, client), v->cold->id);
		ask_kill(v->env, v->row, v->cold);
		finish(v, VERDICT_DENIED);
		return;
	}
	ask(v);
}

void verdict_event(struct verdict *v)
{
	struct flow_row *flow = &v->row->flow[SERVER];

	/* like a drain, but an empty pipe stays: the program may print more */
	while (pipe_filled(flow->pipe_read) > 0) {
		ssize_t n = pipe_splice(flow->pipe_read, v->row->fd[CLIENT], PIPEPOOL_SIZE);

		/* told once: no later call will hear of it. What else fails is tried again by the relay */
		if (n < 0 && n != -EAGAIN && sock_is_over(v->row->fd[CLIENT], (int)-n))
			v->row->flags |= ROWFLAG_CLIENT_RESET;
		if (n <= 0)
			break;
	}
}

static bool watch_banner(struct verdict *v)
{
	int rc = loop_add(v->env->loop, v->row->flow[SERVER].pipe_read, EPOLLIN | EPOLLET,
	                  row_token(v->env->trio, v->row, BANNER));
	char client[ADDR_TEXT_MAX];

	if (rc == 0)
		return true;
	log_error("asking the access program about %s: what it prints cannot be watched: %s: the connection is ended, "
	          "id=%" PRIu64,
	          addr_format_port(&v->cold->client, client), loop_error_text(-rc), v->cold->id);
	return false;
}

void verdict_start(struct verdict *v, struct step_env *env, struct row *row, struct row_cold *cold, int64_t time_ms,
                   void (*done)(void *arg, enum verdict_outcome outcome), void *arg)
{
	struct flow_row *flow = &row->flow[SERVER];
	int ends[2];
	int rc;

	*v = (struct verdict){.env = env, .row = row, .cold = cold, .done = done, .arg = arg};
	v->deadline_ms = env->loop->now_ms + time_ms + GRACE_MS;
	row_set_state(row, ROW_VERDICT);
	rc = pipe_new(ends, 0);
	if (rc < 0) {
		char client[ADDR_TEXT_MAX];

		log_error("asking the access program about %s: no pipe (error %d): denied, id=%" PRIu64,
		          addr_format_port(&cold->client, client), -rc, cold->id);
		finish(v, VERDICT_DENIED);
		return;
	}
	FAULT_POINT();
	flow->pipe_foreign = 1;
	flow->pipe_write = ends[1];
	FAULT_POINT();
	flow->pipe_read = ends[0];
	FAULT_POINT();
	if (watch_banner(v))
		ask(v);
	else
		v->done(v->arg, VERDICT_LOST);
}

void verdict_answer(struct verdict *v, uint32_t kind)
{
	if (kind == ANSWER_STALE) {
		v->cold->asked_before = 0; /* it was not started there */
		ask(v);
		return;
	}
	finish(v, kind == ANSWER_GRANTED ? VERDICT_GRANTED : VERDICT_DENIED);
}

void verdict_spawner_lost(struct verdict *v)
{
	struct question_slot *slot = &trio_slots(v->env->trio)[row_index(v->env->trio, v->row)];

	v->asked = false;
	if (slot->answered)
		verdict_answer(v, slot->answered);
	else if (slot->pid != 0)
		finish(v, VERDICT_DENIED);
	else
		plan(v);
}

void verdict_cancel(struct verdict *v)
{
	timer_clear(v->env->loop, &v->timer);
	ask_kill(v->env, v->row, v->cold);
	v->cold->question = 0;
}

void verdict_resume(struct verdict *v, struct step_env *env, struct row *row, struct row_cold *cold, int64_t time_ms,
                    void (*done)(void *arg, enum verdict_outcome outcome), void *arg)
{
	struct question_slot *slot = &trio_slots(env->trio)[row_index(env->trio, row)];

	*v = (struct verdict){.env = env, .row = row, .cold = cold, .done = done, .arg = arg};
	if (row->flags & ROWFLAG_GRANTED || row->end == END_DENIED) {
		finish(v, row->flags & ROWFLAG_GRANTED ? VERDICT_GRANTED : VERDICT_DENIED);
		return;
	}
	if (row->flow[SERVER].pipe_read < 0 || row->flow[SERVER].pipe_write < 0 || cold->question == 0) {
		/* nothing was asked yet */
		pipepool_discard(&row->flow[SERVER].pipe_read, &row->flow[SERVER].pipe_write);
		verdict_start(v, env, row, cold, time_ms, done, arg);
		return;
	}
	v->deadline_ms = env->loop->now_ms + time_ms + GRACE_MS;
	if (!watch_banner(v))
		v->done(v->arg, VERDICT_LOST);
	else if (slot->answered)
		verdict_answer(v, slot->answered);
	else
		ask(v); /* the spawner does not start the same question twice */
}
