/* session_starttls.c - what comes before TLS in the life of a connection: heard of the client, and said to the server. */
#include "os/host.h"
#include "proxy/cancel.h"
#include "proxy/session_parts.h"

/* ---- the client ---- */

bool session_must_talk(struct session *s)
{
	return section_of(s)->starttls && s->cold->talk_step < TALK_OVER;
}

void session_cancel_everywhere(struct session *s)
{
	const struct talking *t = &s->steps->talking;

	cancel_send(&s->engine->loop, s->engine->rules, s->engine->world, section_of(s)->service, s->cold->local.port,
	            t->bytes, t->n_bytes);
}

void session_enter_talking(struct session *s, void (*done)(void *arg, enum talking_outcome outcome))
{
	const struct section *section = section_of(s);
	struct engine *e = s->engine;

	struct talking *t = &session_begin_step(s)->talking;

	s->talking = true;
	talking_start(t, &e->early, &e->env, s->row, s->cold, (enum starttls)section->starttls, host_name(),
	              section->speak_timeout_ms, s->seen & EPOLLIN, done, s);
}

/* ---- the server ---- */

bool session_agrees(struct session *s)
{
	return section_of(s)->starttls && s->cold->talk_step == TALK_OVER;
}

void session_enter_agreeing(struct session *s, void (*done)(void *arg, enum agreeing_outcome outcome))
{
	struct engine *e = s->engine;

	struct agreeing *a = &session_begin_step(s)->agreeing;

	s->agreeing = true;
	agreeing_start(a, &e->env, s->row, s->cold, (enum starttls)section_of(s)->starttls, host_name(),
	               s->cold->dial_deadline_ms, done, s);
}

const char *session_why_not_agreed(enum agreeing_outcome outcome)
{
	switch (outcome) {
	case AGREEING_REFUSED:
		return "it does not go on with TLS (starttls)";
	case AGREEING_TIMEOUT:
		return "it does not say in time whether it goes on with TLS (starttls)";
	default:
		return "it closed the connection when it was asked for TLS (starttls)";
	}
}
