/*
 * phase.h - where the supervisor stands between its start and its end, and what may be asked of it then: by a signal, by
 * tcpproxyctl or by the page alike. Drawn in docs/supervisor-states.md.
 */
#ifndef CHILDREN_PHASE_H
#define CHILDREN_PHASE_H

#include <stdbool.h>

enum phase {
	PHASE_STARTING, /* until everything serves */
	PHASE_SERVING,
	PHASE_DRAINING, /* QUIT: nothing new is accepted; the end comes with the last connection */
	PHASE_LEAVING,  /* a TERM that may be a restart: systemd is asked what it keeps for us */
	PHASE_STOPPING, /* all is told to end */
	PHASES
};

enum request {
	REQUEST_RELOAD,  /* HUP */
	REQUEST_UPGRADE, /* USR2 */
	REQUEST_DRAIN,   /* QUIT */
	REQUEST_LEAVE,   /* TERM */
	REQUEST_STOP,    /* INT */
	REQUESTS
};

/* It accepts and will go on to. */
static inline bool phase_serves(enum phase p)
{
	return p <= PHASE_SERVING;
}
const char *phase_name(enum phase p);
/* Can the one follow the other? */
bool phase_may_follow(enum phase from, enum phase to);
/* NULL: it may be asked now. Else why not, as the end of "reload: ...". */
const char *phase_refuses(enum phase p, enum request r);
/* The same, and the log is told. what: was asked for, "reload". */
const char *phase_ask(enum phase p, enum request r, const char *what);
/* The one way to change it: aborts at one that cannot follow. */
void phase_set(enum phase *phase, enum phase next);

#endif
