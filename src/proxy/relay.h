/*
 * relay.h - two sockets, two directions, and the truth about the end of each.
 *
 * docs/relay-states.md draws what happens; its table is the list of the tests. The rules:
 *   a FIN is passed on as a FIN, behind all data, each direction by itself;
 *   a reset is passed on as a reset, behind all data, when the receiver has acknowledged that data;
 *   what can no longer be delivered is read and thrown away, so that its sender does not hang.
 */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

#include "base/record.h"
#include "proxy/flow.h"
#include "proxy/step.h"

enum relay_outcome {
	RELAY_CLOSE, /* both streams ended: close */
	RELAY_ABORT, /* both sides are to get a reset */
};

struct relay {
	struct step_env *env;
	struct row *row;
	struct row_cold *cold;
	void (*done)(void *arg, enum relay_outcome outcome);
	void (*again)(void *arg); /* more to do: call relay_run in the next turn */
	void *arg;
	struct timer timer;
	uint64_t moved, delivered; /* at the last look, to see whether a slow reader acknowledges */
	int64_t wait_ms;        /* between looks while something is unacknowledged */
	bool readable[2];       /* by side: it may have input */
	bool writable[2];       /* it may take output */
	bool watched[2];        /* EPOLLOUT is asked for */
	bool urgent[2];         /* urgent data was seen: no splice */
	bool hung_up[2];        /* no event tells any more what comes from it */
	bool closed[2];         /* perhaps: its counters are a guess */
	struct flow_habit habit[2];
	bool looked;
	bool resumed;           /* errors may have been taken by a worker that could not note them */
	bool half_close_planned;
	bool no_delay;          /* set at the server */
	bool settled;           /* nothing is unacknowledged: close without asking again */
	bool over;              /* done() was called */
};

/* row->fd[CLIENT] and fd[SERVER] are connected and registered with ROW_EVENTS, fd[SERVER] with EPOLLOUT, too. seen:
 * the events of both that were told so far. Starts to move bytes at once. */
void relay_start(struct relay *r, struct step_env *env, struct row *row, struct row_cold *cold,
		 const uint32_t seen[2], void (*done)(void *arg, enum relay_outcome outcome),
		 void (*again)(void *arg), void *arg);
/* Another worker had begun: asks the kernel how far both streams got, puts the row right, and goes on in
 * the next turn. Both sockets are ours (their cookies match). */
void relay_resume(struct relay *r, struct step_env *env, struct row *row, struct row_cold *cold,
		  void (*done)(void *arg, enum relay_outcome outcome), void (*again)(void *arg),
		  void *arg);
void relay_event(struct relay *r, enum side side, uint32_t events);
void relay_run(struct relay *r);
void relay_cancel(struct relay *r);

#endif
