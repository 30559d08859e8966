/* told_state.h - what was told last of a server: one word, of a seat, of a server that is not checked, or of one that is forced in one
 * service only. */
#ifndef IPC_TOLD_STATE_H
#define IPC_TOLD_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

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
