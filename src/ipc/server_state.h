/*
 * server_state.h - what a server is said to be: in the log, to `notify` programs, to whoever looks in. Computed from what checks and
 * clients have found and what tcpproxyctl says, never kept; kept is only what was told last, so that a supervisor that follows one
 * that has died knows what nobody has heard of yet.
 */
#ifndef IPC_SERVER_STATE_H
#define IPC_SERVER_STATE_H

#include "ipc/world.h"

enum server_state {
	STATE_UNTRIED = 1, /* no check, and no client yet */
	STATE_UNKNOWN,     /* not checked yet */
	STATE_UP,
	STATE_DOWN,
	STATE_FAILED,     /* its last client could not connect */
	STATE_UNRESOLVED, /* its name has no address */
	STATE_EJECTED,    /* clients failed there again and again */
};
#define SERVER_STATES (STATE_EJECTED + 1)

const char *server_state_name(enum server_state state); /* "up" */

/* By the checks of its seat, if it has one. health: what they say; with `now` of health_read() it is what is so. */
enum server_state server_state(const struct world *w, const struct standing *s, enum health_state health);
/* The same, with what the checks say now. */
enum server_state server_state_now(const struct world *w, const struct standing *s);

/* What was told last of a seat, or, where a server is not checked, of it: one word (struct seat, struct target), written by supervisors
 * alone. */
struct told_state {
	enum server_state logged; /* to the log, and acted upon */
	enum server_state noted;  /* to `notify` programs */
	int64_t limited_ms;       /* when the last one of those was told that are told once a minute; 0: never */
};

/* Of a word that says nothing: as if it had been told that nothing is known. */
struct told_state told_state_read(const atomic_ullong *word, bool checked);
void told_state_write(atomic_ullong *word, struct told_state t);
/* Of another supervisor, through hands that may lie. */
void told_state_check(atomic_ullong *word);

#endif
