/*
 * flow_batch.h - small messages of many connections at once: one system call receives them all, one sends them all.
 *
 * A fourth way to move bytes, beside those of flow.h, for directions that would each be copied: taken into a slot of
 * the trio's, sent from there, and parked at once if the destination does not take all. A slot is what the scratch is
 * to copying: after a death its bytes are found there (flow_batch_hand_over).
 */
#ifndef PROXY_FLOW_BATCH_H
#define PROXY_FLOW_BATCH_H

#include "os/uring.h"
#include "proxy/pipepool.h"
#include "takeover/table.h"

/* Both ends TCP, nothing parked, the source's counters sure. A connection at most once in a batch: its other direction may
 * not be touched while bytes are in a slot. */
struct flow_batch_item {
	int32_t row;
	uint8_t side; /* enum side of the source */
	int source, dest;
	struct flow_row *flow;
	int taken, sent; /* out: as of recv() and send(), -errno; sent: if taken > 0 */
	bool lost;       /* out: the destination does not take it, and no pipe can be had */
};

/* Moves what each has, at most BATCH_ROOM bytes. When it returns all slots are closed, and what was taken counts as
 * moved. false: the ring is of no use any more. */
bool flow_batch(struct trio *t, struct uring *uring, struct pipepool *pool, struct flow_batch_item *items, unsigned n);

/* For a successor: makes slot i, if it is open, the open step of copying, and closes the slot. No step is open.
 * May be repeated. false: it was not open. */
bool flow_batch_hand_over(struct trio *t, unsigned i);

#endif
