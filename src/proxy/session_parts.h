/*
 * session_parts.h - what the parts of a session have from each other: session.c (its life, step after step), session_headers.c
 * (headers of the PROXY protocol), session_resume.c (going on after a worker's death, and after a reload), session_end.c (the one door
 * out). Not for others.
 */
#ifndef PROXY_SESSION_PARTS_H
#define PROXY_SESSION_PARTS_H

#include "proxy/session.h"

/* Of the present rules: only while it needs some. */
static inline const struct section *section_of(struct session *s)
{
	return &s->engine->rules->config->sections[s->cold->section];
}

/* The present one; NULL: none. */
static inline const struct server *session_server(struct session *s)
{
	const struct section *section = section_of(s);

	return s->cold->server_index < section->n_servers ? &section->servers[s->cold->server_index] : NULL;
}

/* What an established connection needs of its section, copied: a reload keeps no old rules alive. */
void session_copy_section(struct session *s, const struct section *section);

/* Memory for another step: the one before has ended. */
struct steps *session_begin_step(struct session *s);
void session_no_more_steps(struct session *s); /* none may have begun */

/* Into a state; the session may have ended when these return. */
/* The first of them: accepted, and nothing is known of a header that comes first. */
void session_enter_preamble(struct session *s, const struct section *section);
/* A header that was whole is taken to its end. */
void session_take_header(struct session *s);
void session_enter_access(struct session *s, const struct section *section);
void session_enter_route(struct session *s);
void session_enter_linger(struct session *s);
/* A socket of it cannot be watched (-errno): says so, and ends it. */
void session_unwatched(struct session *s, int error);
/* It waits in line, or is refused since it cannot; state: ROW_QUEUED, ROW_HELD. */
void session_enter_wait(struct session *s, enum row_state state);
/* Out of the line: it takes what there is. */
void session_take_turn(struct session *s);
/* Out of one. */
void session_leave_preamble(struct session *s, const struct section *section); /* its rules have changed */
void session_leave_resolve(struct session *s);
void session_give_server_back(struct session *s); /* it has not been connected */

/* session_dial.c. Everything that a dial needs and no row has; the step has begun. */
void session_describe_dial(struct session *s);
/* When the present server must have answered; 0: whenever. */
int64_t session_dial_deadline(struct session *s);
/* WHY_NONE, if that says it all. */
enum why session_why_dial_failed(const struct session *s);
/* What the log is told of that, and asks the server. */
void session_dial_failed(struct session *s, enum dial_outcome outcome);

/* Its limits let it in: what comes next. */
void session_let_in(struct session *s);

void session_enter_sniffing(struct session *s);
/* session_end.c. The step that is under way in this state. */
void session_cancel_sniffing(struct session *s);
void session_cancel_dial(struct session *s);
/* Somebody wanted to know whether we are there: no access record. */
void session_end_probe(struct session *s);
/* session_starttls.c. It has asked for TLS, and so its server is asked, too. */
bool session_agrees(struct session *s);
/* What comes before TLS is not heard yet. */
bool session_must_talk(struct session *s);
void session_enter_talking(struct session *s, void (*done)(void *arg, enum talking_outcome outcome));
/* It wants something cancelled: all its servers are told. */
void session_cancel_everywhere(struct session *s);
/* Its server is connected: done() when it has agreed, or not. seen: events of it. */
void session_enter_agreeing(struct session *s, void (*done)(void *arg, enum agreeing_outcome outcome));
/* Why not, for the log. */
const char *session_why_not_agreed(enum agreeing_outcome outcome);
/* What it has said leads there. */
void session_enter_section(struct session *s, const struct section *found);

/* session_sniff.c. Its section is not known before it has said something. */
bool session_must_speak(struct session *s);
/* Why the rules of its section do not let it in; those of this one, where all that it inherits was asked before. */
enum why session_why_denied(struct session *s, const struct section *section);
enum why session_why_denied_there(struct session *s, const struct section *found);
/* Its section by the present rules, also by what it has said already; NULL: none. */
const struct section *session_find_section(struct session *s);

/* session_handler.c. Its server is a program; the program runs. */
void session_enter_handler(struct session *s);
void session_program_worked(struct session *s);

/* session_headers.c. One has come. */
void session_header_came(struct session *s, const struct preamble *p);
/* The server is connected: what it hears first (proxy/header_out.h). 0 or -errno. */
int session_send_header(struct session *s);
/* Connected it was, but the header did not get there. */
void session_drop_server(struct session *s);

/* session_wait.c: who may wait, and where. The state in which it may; ROW_FREE: it may not. full: it could be connected but for a
 * limit. */
enum row_state session_waits_for(struct session *s, bool full);
/* Others wait already; the state in which it stands behind them, or ROW_FREE. */
enum row_state session_stands_behind(struct session *s);
/* After a worker's death or a reload: it may wait as it did. */
bool session_may_wait_on(struct session *s);
/* Its access program has not been asked yet. */
bool session_before_access(struct session *s);
/* It rather waits for a primary than goes to a backup. */
bool session_is_patient(struct session *s);
void session_wait_begin(struct session *s, enum row_state state, void (*done)(void *arg, enum waiting_outcome outcome));
/* It has waited in this state, and in vain. */
void session_wait_over(struct session *s, enum row_state state);
/* It goes out of the line to try a server; the server failed, and it goes back at once; it is connected, and others have one hope
 * more. */
void session_tries(struct session *s);
bool session_goes_back(struct session *s);
void session_waits_no_more(struct session *s);
/* The log is told that the present server has failed, if that is worth a message. */
void session_say_failed(struct session *s, const char *why);

/* What steps are to call when they are done. */
void session_verdict_done(void *arg, enum verdict_outcome outcome);
void session_dial_done(void *arg, enum dial_outcome outcome);
void session_handler_done(void *arg, enum handler_outcome outcome);
const struct relay_owner *session_relay_owner(struct session *s);

#endif
