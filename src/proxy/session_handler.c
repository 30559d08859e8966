/* session_handler.c - a program has the connection, from there to its end. */
#include <errno.h>
#include "base/clock.h"
#include "proxy/recording.h"
#include "proxy/session_parts.h"
#include "proxy/tally.h"

/* It runs, or ran: that is all that can be known of it. NULL: the table of targets is full. */
static struct experience *program_of(struct session *s)
{
	return s->cold->target < TARGETS_MAX ? &s->engine->world->experience[s->cold->target] : NULL;
}

void session_program_worked(struct session *s)
{
	if (program_of(s))
		target_worked(program_of(s), s->engine->loop.now_ms);
}

static void program_failed(struct session *s)
{
	const struct question_slot *slot = &trio_slots(s->engine->env.trio)[s->index];

	if (program_of(s))
		target_not_there(program_of(s), s->engine->loop.now_ms,
		                 slot->answered == ANSWER_FAILED ? slot->status : ETIMEDOUT);
}

void session_handler_done(void *arg, enum handler_outcome outcome)
{
	struct session *s = arg;

	switch (outcome) {
	case HANDLER_EXITED:
		session_program_worked(s);
		session_end(s, END_HANDLER_EXIT, BY_CLOSE);
		break;
	case HANDLER_FAILED:
		program_failed(s);
		session_end(s, END_CONNECT_FAILED, BY_RESET);
		break;
	case HANDLER_IDLE:
		session_end(s, END_IDLE_TIMEOUT, BY_RESET);
		break;
	case HANDLER_LOST:
		session_end(s, END_LOST, BY_RESET);
		break;
	}
}

void session_enter_handler(struct session *s)
{
	s->cold->connected_us = clock_mono_us();
	session_waits_no_more(s);
	tally_connected(s);
	recording_begin(s);
	handler_start(&session_begin_step(s)->handler, &s->engine->env, s->row, s->cold, session_handler_done, s);
}
