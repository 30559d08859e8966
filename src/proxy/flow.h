/*
 * flow.h - one direction of a relay: bytes from a source socket to a destination socket.
 *
 * Ways to move them, each safe to be interrupted anywhere:
 *   flow_copy    through the worker's scratch, which is shared memory: a step that its death leaves open is
 *                finished by its successor. What the destination does not take is parked in a pipe.
 *   flow_splice  through a pipe, without copying. For bulk, and always where one end is a Unix socket,
 *                which has no counters that a successor could ask.
 *   flow_peek    look at what is there, send it, then take what was sent. Needs no pipe: the way out if none
 *                can be had, and where the source may be closed already, so that its counters are a guess.
 * One of them at a time is in charge of a direction, and changes only when nothing is parked. Above them nobody
 * knows which is at work: they stop for the same reasons.
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
	FLOW_OTHER_WAY,    /* nothing is wrong, but this way does not suit: too much, too little, no pipe */
};

/* What is expected of a direction, from what it did last. */
struct flow_habit {
	bool bulk : 1;       /* comes in large pieces: splice */
	bool small : 1;      /* the last was one that a batch has room for */
	uint8_t against : 6; /* pieces in a row that say otherwise */
};

/* Pieces that change the habit, by their size and number: below 12 to 16 KiB splice costs more than it saves. */
#define FLOW_LARGE       (32 * 1024)
#define FLOW_LARGE_ONES  2
#define FLOW_SMALL       (16 * 1024)
#define FLOW_SMALL_ONES  4

/* Somebody looks at the bytes of this direction, as they are taken from the source. */
struct flow_tap {
	/* n bytes that were taken; n bytes that are all there is in a pipe, and stay there */
	void (*bytes)(struct flow_tap *tap, uint32_t row, uint8_t side, const char *data, size_t n);
	void (*piped)(struct flow_tap *tap, uint32_t row, uint8_t side, int pipe, size_t n);
	bool (*wants)(const struct flow_tap *tap, uint32_t row);
};

struct flow_io {
	struct flow_tap *tap; /* NULL: nobody looks */
	int source, dest;
	struct flow_row *row;
	bool source_tcp, dest_tcp;
	bool to_the_end;      /* no event may tell of what comes next: ask until there is nothing */
	bool ends;            /* the source's FIN has come: what is left is the end */
	bool delays;          /* the destination holds small messages back; see flow_hurry() */
	bool no_splice;       /* urgent data, at which it stops for ever; or it would block */
	bool no_copy;         /* the source's counters are not sure, or nothing can be parked */
	struct flow_habit *habit;
	struct copy_step *step;
	int32_t step_row;     /* index of the row, and */
	uint8_t step_side;    /* enum side of the source: for whoever has to finish a step of copying */
	char *scratch;        /* the worker's one buffer, SCRATCH_SIZE bytes */
	size_t scratch_len;
	struct pipepool *pool;
	size_t budget;        /* bytes in this turn; counts down */
	size_t moved;         /* bytes taken from the source in this call */
	bool progress;        /* a byte moved anywhere, parked ones included */
	int error;            /* positive errno */
};

/* Moves by the way that suits; what is parked goes first. Never FLOW_OTHER_WAY. */
enum flow_stop flow_move(struct flow_io *io);

enum flow_stop flow_copy(struct flow_io *io);   /* both ends are TCP; nothing is parked */
enum flow_stop flow_splice(struct flow_io *io); /* nothing is parked */
enum flow_stop flow_peek(struct flow_io *io);   /* nothing is parked */

/* Sends what is parked in the direction's pipe, and gives the pipe back when it is empty.
 * FLOW_EMPTY: nothing is parked now. */
enum flow_stop flow_drain(struct flow_io *io);
/* Reads and throws away what comes. */
enum flow_stop flow_discard(struct flow_io *io);

/* Before every send; `before` bytes were sent since the beginning. The first message leaves at once in any case; the
 * next would be held back until that was acknowledged. A short connection never gets so far. */
void flow_hurry(struct flow_io *io, uint64_t before);

/* Gives the row's pipe back, or closes it if it must not be used again. It is empty. */
void flow_give_pipe_back(struct flow_io *io);

/* For a successor: whose pipe is it, the step's or the row's? Before it asks what is in it. */
void flow_settle_pipe(struct copy_step *step, struct flow_row *row);

/* For a successor: the last `rest` bytes of the n that an open step had taken are in nobody's hands yet. They are
 * parked in the direction's pipe, with what the step had parked before. The step stays open. May be repeated. */
void flow_finish_copy(struct copy_step *step, struct flow_row *row, const char *scratch, size_t n,
		      size_t rest);

#endif
