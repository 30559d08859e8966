/*
 * flow.h - one direction of a relay: bytes from a source socket to a destination socket.
 *
 * Ways to move them, each safe to be interrupted anywhere:
 *   flow_peek    look at what is there, send it, then take what was sent. Nothing is ever only in
 *                our memory.
 *   flow_splice  through a pipe, without copying. Where one end is a Unix socket, which has no counters
 *                a successor could ask.
 * Above them nobody knows which is at work: they stop for the same reasons.
 */
#ifndef PROXY_FLOW_H
#define PROXY_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include "proxy/pipepool.h"
#include "takeover/table.h"

enum flow_stop {
	FLOW_EMPTY,        /* the source has nothing now: wait until it is readable */
	FLOW_FULL,         /* the destination takes nothing now: wait until it is writable */
	FLOW_BUDGET,       /* there may be more: come back in the next turn */
	FLOW_END,          /* the source gave 0: a FIN, or a reset whose error was taken before */
	FLOW_SOURCE_ERROR, /* its error is in io->error */
	FLOW_DEST_ERROR,
	FLOW_NO_PIPE,      /* flow_splice only: none to be had */
};

struct flow_io {
	int source, dest;
	struct flow_row *row;
	bool source_tcp;
	bool to_the_end;      /* no event may tell of what comes next: ask until there is nothing */
	char *scratch;        /* the worker's one buffer */
	size_t scratch_len;
	struct pipepool *pool;
	size_t budget;        /* bytes in this turn; counts down */
	size_t moved;         /* bytes taken from the source in this call */
	bool progress;        /* a byte moved anywhere, parked ones included */
	int error;            /* positive errno */
};

enum flow_stop flow_peek(struct flow_io *io);
enum flow_stop flow_splice(struct flow_io *io);

/* Sends what is parked in the direction's pipe, and gives the pipe back when it is empty.
 * FLOW_EMPTY: nothing is parked now. */
enum flow_stop flow_drain(struct flow_io *io);
/* Reads and throws away what comes. */
enum flow_stop flow_discard(struct flow_io *io);

#endif
