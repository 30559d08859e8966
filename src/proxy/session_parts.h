/*
 * session_parts.h - what the parts of a session have from each other: session.c (its life, step after step),
 * session_resume.c (going on after a worker's death, and after a reload), session_end.c (the one door out). Not for others.
 */
#ifndef PROXY_SESSION_PARTS_H
#define PROXY_SESSION_PARTS_H

#include "proxy/session.h"

/* Of the present rules: only while it needs some. */
static inline const struct section *section_of(struct session *s)
{
	return &s->engine->rules->config->sections[s->cold->section];
}

/* What an established connection needs of its section, copied: a reload keeps no old rules alive. */
void session_copy_section(struct session *s, const struct section *section);

/* Memory for another step: the one before has ended. */
struct steps *session_begin_step(struct session *s);
void session_no_more_steps(struct session *s); /* none may have begun */

/* Into a state; the session may have ended when these return. */
void session_enter_access(struct session *s, const struct section *section);
void session_enter_route(struct session *s);
void session_let_in(struct session *s); /* by the rules, and counted */
void session_enter_linger(struct session *s);
/* A socket of it cannot be watched (-errno): says so, and ends it. */
void session_unwatched(struct session *s, int error);
/* session_wait.c. It waits in line, or is refused since it cannot; state: ROW_QUEUED, ROW_HELD. */
void session_enter_wait(struct session *s, enum row_state state);
/* The state in which it may wait; ROW_FREE: it may not. full: it could be connected but for a limit. */
enum row_state session_waits_for(struct session *s, bool full);
/* Others wait already. True: it stands behind them, or has been refused. */
bool session_waits_behind(struct session *s);
/* It rather waits for a primary than goes to a backup. */
bool session_is_patient(struct session *s);
/* It waits, and its worker has died, or its rules have changed: its step is over. */
void session_resume_wait(struct session *s);
void session_go_on_waiting(struct session *s);
/* It is connected: others have one hope more. */
void session_waits_no_more(struct session *s);
/* It was let go, and the server failed: back into the line at once. */
bool session_goes_back(struct session *s);
/* Is it worth a message that a server has failed? */
bool session_says_failed(struct session *s);

/* Out of one. */
void session_leave_resolve(struct session *s);
void session_give_server_back(struct session *s); /* it has not been connected */

/* Everything that a dial needs and no row has; the step has begun. */
void session_describe_dial(struct session *s);

/* What steps are to call when they are done. */
void session_verdict_done(void *arg, enum verdict_outcome outcome);
void session_dial_done(void *arg, enum dial_outcome outcome);
void session_handler_done(void *arg, enum handler_outcome outcome);
const struct relay_owner *session_relay_owner(struct session *s);

#endif
