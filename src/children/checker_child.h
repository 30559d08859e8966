/*
 * checker_child.h - the process that asks servers whether they are well, as the supervisor sees it: and
 * what their names resolve to: there while the configuration has `check`, or servers with names; replaced when it dies, told of a reload.
 */
#ifndef CHILDREN_CHECKER_CHILD_H
#define CHILDREN_CHECKER_CHILD_H

#include "base/addr.h"
#include "children/child.h"
#include "children/spawner_child.h"
#include "children/workers.h"
#include "ipc/crowd.h"
#include "servers/dns.h"

/* What it reports. */
struct checker_events {
	/* A seat (ipc/seats.h) is another state now. at: AF_UNSPEC: no address; why: "" for none. */
	void (*health)(void *arg, uint32_t seat, enum health_state state, enum health_state was, const struct addr *at,
	               const char *why);
	/* What a name is said to resolve to; of which target it is, is to be checked. */
	void (*named)(void *arg, const struct named *answer);
	/* The members that a line is said to have (ipc/crowd.h), in order; whether there is such a line is to be checked. */
	void (*crowd)(void *arg, uint64_t id, const struct member *list, size_t n);
};

struct checker_child {
	/* handed to it */
	struct workers *workers;
	struct spawner_child *spawner;
	const struct checker_events *events;
	void *arg;
	/* its own */
	struct child child;
	pid_t supervisor_pid;
	bool abstract;   /* it may connect to servers "unix:@NAME" */
	bool telling;    /* it has not been told all of the present rules ... */
	bool rules_told; /* ... but them, and which sockets may refuse up to this one */
	size_t next_listener;
	struct gathering gathering;
	struct timer timer; /* looks after sockets that do not listen */
	int64_t look_until_ms;
	size_t n_deaf; /* that should listen and cannot */
};

/* The loop is there. */
void checker_child_init(struct checker_child *c);
/* Nothing to check: nothing happens. */
void checker_child_start(struct checker_child *c);
/* It gets a channel to the spawner, for checks that programs make. */
void checker_child_join(struct checker_child *c);
/* The same configuration, but name servers may be others. */
void checker_child_refresh(struct checker_child *c);
/* A new configuration is in force. */
void checker_child_reload(struct checker_child *c);
/* These seats are to be asked now; the answers stand beside them (health_answered()). false: nobody checks at the moment. */
bool checker_child_ask(struct checker_child *c, const uint32_t *seats, size_t n);
void checker_child_died(struct checker_child *c, int status);
/* The listening sockets are another program's from now on: it closes its own. */
void checker_child_drain(struct checker_child *c);
/* Ends it, at once. Unless all is to end, ports that refused accept again: somebody else may follow us. */
void checker_child_stop(struct checker_child *c);

#endif
