#include "proxy/handler.h"

#include <inttypes.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "os/proc.h"
#include "os/sock.h"
#include "program/question.h"
#include "proxy/ask.h"
#include "takeover/row_state.h"

#define START_LIMIT_MS 20000 /* a name is looked up first (5 s), the spawner may be replaced */

void handler_count(struct row *row)
{
	struct sock_tcp_info info;

	if (sock_tcp_info(row->fd[CLIENT], &info) < 0)
		return; /* no TCP: unknown */
	row->flow[CLIENT].moved = info.bytes_received - (tcp_fin_received(info.state) ? 1 : 0);
	row->flow[SERVER].moved = info.bytes_acked;
}

static void finish(struct handler *h, enum handler_outcome outcome)
{
	timer_clear(h->env->loop, &h->timer);
	handler_count(h->row);
	h->cold->question = 0;
	h->done(h->arg, outcome);
}

static void handler_tick(void *arg);

static void ask(struct handler *h)
{
	int fds[1] = {h->row->fd[CLIENT]};
	int64_t at = h->deadline_ms;

	h->asked = ask_send(h->env, h->row, h->cold, ASK_HANDLER, fds, 1) == 0;
	if (!h->asked && h->env->loop->now_ms + ASK_RETRY_MS < at)
		at = h->env->loop->now_ms + ASK_RETRY_MS;
	timer_set(h->env->loop, &h->timer, at, handler_tick, h);
}

/* While it runs: is anything going on? */
static void look_for_life(struct handler *h)
{
	uint64_t before = h->bytes;

	handler_count(h->row);
	h->bytes = h->row->flow[CLIENT].moved + h->row->flow[SERVER].moved;
	if (h->bytes == before) {
		ask_kill(h->env, h->row, h->cold);
		finish(h, HANDLER_IDLE);
		return;
	}
	timer_set(h->env->loop, &h->timer, h->env->loop->now_ms + h->cold->timeout_ms, handler_tick, h);
}

static void handler_tick(void *arg)
{
	struct handler *h = arg;

	if (h->row->state == ROW_HANDLER) {
		look_for_life(h);
	} else if (h->env->loop->now_ms >= h->deadline_ms) {
		char client[ADDR_TEXT_MAX];

		log_error("starting a handler for %s: the spawner did not answer in time, id=%" PRIu64,
		          addr_format_port(&h->cold->client, client), h->cold->id);
		ask_kill(h->env, h->row, h->cold);
		finish(h, HANDLER_FAILED);
	} else {
		ask(h);
	}
}

void handler_start(struct handler *h, struct step_env *env, struct row *row, struct row_cold *cold,
                   void (*done)(void *arg, enum handler_outcome outcome), void *arg)
{
	*h = (struct handler){.env = env, .row = row, .cold = cold, .done = done, .arg = arg};
	h->deadline_ms = env->loop->now_ms + START_LIMIT_MS;
	row_set_state(row, ROW_STARTING);
	/* from now on its events are the program's */
	loop_remove(env->loop, row->fd[CLIENT]);
	ask(h);
}

static bool watch_end(struct handler *h)
{
	int rc = loop_add(h->env->loop, h->row->fd[SECOND], EPOLLIN, row_token(h->env->trio, h->row, SECOND));
	char client[ADDR_TEXT_MAX];

	if (rc == 0)
		return true;
	log_error("the handler of %s is ended, because its end cannot be watched: %s, id=%" PRIu64,
	          addr_format_port(&h->cold->client, client), loop_error_text(-rc), h->cold->id);
	return false;
}

static void started(struct handler *h, int pidfd)
{
	h->row->cookie[SECOND] = 0; /* no socket */
	barrier();
	h->row->fd[SECOND] = pidfd;
	row_set_state(h->row, ROW_HANDLER);
	timer_clear(h->env->loop, &h->timer);
	if (!watch_end(h)) {
		ask_kill(h->env, h->row, h->cold);
		finish(h, HANDLER_LOST);
		return;
	}
	if (h->cold->timeout_ms) {
		handler_count(h->row);
		h->bytes = h->row->flow[CLIENT].moved + h->row->flow[SERVER].moved;
		timer_set(h->env->loop, &h->timer, h->env->loop->now_ms + h->cold->timeout_ms, handler_tick, h);
	}
}

void handler_answer(struct handler *h, uint32_t kind, int pidfd)
{
	if (kind == ANSWER_STALE) {
		h->cold->asked_before = 0; /* it was not started there */
		ask(h);
	} else if (kind == ANSWER_STARTED && pidfd >= 0 && h->row->state == ROW_STARTING) {
		started(h, pidfd);
		return;
	} else if (h->row->state == ROW_STARTING) {
		finish(h, HANDLER_FAILED);
	}
	if (pidfd >= 0)
		close(pidfd);
}

void handler_event(struct handler *h)
{
	if (h->row->fd[SECOND] >= 0 && proc_pidfd_dead(h->row->fd[SECOND]))
		finish(h, HANDLER_EXITED);
}

void handler_spawner_lost(struct handler *h)
{
	int32_t pid = trio_slots(h->env->trio)[row_index(h->env->trio, h->row)].pid;

	if (h->row->state != ROW_STARTING)
		return;
	if (pid > 0) {
		int pidfd = proc_pidfd(pid);

		if (pidfd >= 0)
			started(h, pidfd);
		else
			finish(h, HANDLER_EXITED);
		return;
	}
	h->asked = false;
	timer_set(h->env->loop, &h->timer, h->env->loop->now_ms + ASK_RETRY_MS, handler_tick, h);
}

void handler_cancel(struct handler *h)
{
	timer_clear(h->env->loop, &h->timer);
	handler_count(h->row);
	ask_kill(h->env, h->row, h->cold); /* unless it has ended by itself: then nothing is asked any more */
	h->cold->question = 0;
}

void handler_resume(struct handler *h, struct step_env *env, struct row *row, struct row_cold *cold,
                    void (*done)(void *arg, enum handler_outcome outcome), void *arg)
{
	struct question_slot *slot = &trio_slots(env->trio)[row_index(env->trio, row)];

	/* without a question the slot is still that of another connection, which had this row before */
	if (row->state == ROW_STARTING && (cold->question == 0 || slot->pid == 0)) {
		handler_start(h, env, row, cold, done, arg);
		return;
	}
	*h = (struct handler){.env = env, .row = row, .cold = cold, .done = done, .arg = arg};
	h->deadline_ms = env->loop->now_ms + START_LIMIT_MS;
	if (row->state == ROW_HANDLER && row->fd[SECOND] >= 0)
		started(h, row->fd[SECOND]);
	else if (slot->answered == ANSWER_FAILED)
		finish(h, HANDLER_FAILED);
	else
		handler_spawner_lost(h); /* its pidfd may have been lost on the way */
}
