/*
 * relay.h - two sockets, two directions, and the truth about the end of each.
 *
 * docs/relay-states.md draws what happens; its table is the list of the tests. The rules:
 *   a FIN is passed on as a FIN, after all data, each direction by itself;
 *   a reset is passed on as a reset, after all data, when the receiver has acknowledged that data;
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

struct relay;

/* Whose relays they are; the same for all. */
struct relay_owner {
	struct step_env *env;
	void (*done)(struct relay *r, enum relay_outcome outcome);
	void (*again)(struct relay *r); /* more to do: call relay_run in the next turn */
};

/* What every established connection costs beside its row: kept small. */
struct relay {
	const struct relay_owner *owner;
	struct row *row;
	struct timer timer;
	uint32_t moved, delivered; /* the low bits of both at the last look: does a slow reader acknowledge? */
	struct {
		bool readable : 1; /* it may have input */
		bool writable : 1; /* it may take output */
		bool watched : 1;  /* EPOLLOUT is asked for */
		bool urgent : 1;   /* urgent data was seen: no splice */
		bool hung_up : 1;  /* no event tells any more what comes from it */
		bool ends : 1;     /* its FIN has come, after what can be read */
		bool closed : 1;   /* perhaps: its counters are a guess */
		struct flow_habit habit;
	} side[2];
	uint8_t wait_ms;   /* between looks while something is unacknowledged */
	uint8_t unwatched; /* errno: room in a destination cannot be waited for */
	bool looked : 1;
	bool resumed : 1; /* errors may have been taken by a worker that could not note them */
	bool half_close_planned : 1;
	bool no_delay : 1; /* set at the server */
	bool settled : 1;  /* nothing is unacknowledged: close without asking again */
	bool over : 1;     /* done() was called */
};

/* row->fd[CLIENT] and fd[SERVER] are connected and registered with ROW_EVENTS, fd[SERVER] with EPOLLOUT, too. seen:
 * the events of both that were told so far. Starts to move bytes at once. */
void relay_start(struct relay *r, const struct relay_owner *owner, struct row *row, const uint32_t seen[2]);
/* Another worker had begun: asks the kernel how far both streams got, puts the row right, and goes on in
 * the next turn. Both sockets are ours (their cookies match). */
void relay_resume(struct relay *r, const struct relay_owner *owner, struct row *row);
void relay_event(struct relay *r, enum side side, uint32_t events);
void relay_run(struct relay *r);
/* relay_batch.c: can what the event tells of side s be moved by a batch (flow_batch.h)? Then *ret says what. */
struct flow_batch_item;
bool relay_batchable(const struct relay *r, enum side s, uint32_t events, struct flow_batch_item *ret);
/* It was. true: the event is dealt with; else relay_event() is to follow. */
bool relay_batched(struct relay *r, const struct flow_batch_item *item);
void relay_cancel(struct relay *r);

#endif
