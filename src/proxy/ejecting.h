/*
 * ejecting.h - what the connections of a worker tell about servers where `eject` is: that one could not be connected, or was; and with
 * `early`, whether it said anything before it ended.
 */
#ifndef PROXY_EJECTING_H
#define PROXY_EJECTING_H

#include "proxy/session.h"
#include "proxy/tally.h"

/* The server that was chosen could not be connected. ours: this host lacks what it takes. */
void ejecting_failed(struct session *s, bool ours);
/* It is connected. With `early` the session is on probation from now on. */
void ejecting_connected(struct session *s);
/* Another worker had connected it. */
void ejecting_resume(struct session *s);
/* On probation, and something may have come of it. */
void ejecting_look(struct session *s);
/* It ends, or goes to another worker. */
void ejecting_stop(struct session *s);

/* After whatever may have moved bytes, or ended a direction. Takes a session whose row has just been freed. */
static inline void session_moved(struct session *s)
{
	tally_moved(s);
	if (s->probation)
		ejecting_look(s);
}

#endif
