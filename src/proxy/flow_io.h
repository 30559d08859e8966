/*
 * flow_io.h - what every way of moving the bytes of a direction (flow.h) works on, and stops for.
 */
#ifndef PROXY_FLOW_IO_H
#define PROXY_FLOW_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "proxy/pipepool.h"
#include "takeover/table.h"

enum flow_stop {
	FLOW_EMPTY,        /* the source has nothing now: wait until it is readable */
	FLOW_FULL,         /* the destination takes nothing now: wait until it is writable */
	FLOW_BUDGET,       /* there may be more: come back in the next turn */
	FLOW_END,          /* the source gave 0: a FIN, or a reset whose error was taken before */
	FLOW_SOURCE_ERROR, /* its error is in io->error; is it over? See sock_is_over() */
	FLOW_DEST_ERROR,   /* the same */
	FLOW_OTHER_WAY,    /* nothing is wrong, but this way does not suit: too much, too little, no pipe */
};

/* What is expected of a direction, from what it did last. */
struct flow_habit {
	bool bulk : 1;       /* comes in large pieces: splice */
	bool small : 1;      /* the last was one that a batch has room for */
	uint8_t against : 6; /* pieces in a row that say otherwise */
};

/* Pieces that change the habit, by their size and number: below 12 to 16 KiB splice costs more than it saves. */
#define FLOW_LARGE      (32 * 1024)
#define FLOW_LARGE_ONES 2
#define FLOW_SMALL      (16 * 1024)
#define FLOW_SMALL_ONES 4

/* A tap on the bytes of this direction, as they are taken from the source. */
struct flow_tap {
	/* n bytes that were taken; n bytes that are all there is in a pipe, and stay there */
	void (*bytes)(struct flow_tap *tap, uint32_t row, uint8_t side, const char *data, size_t n);
	void (*piped)(struct flow_tap *tap, uint32_t row, uint8_t side, int pipe, size_t n);
	bool (*wants)(const struct flow_tap *tap, uint32_t row);
};

struct flow_io {
	struct flow_tap *tap; /* NULL: none */
	int source, dest;
	struct flow_row *row;
	bool source_tcp, dest_tcp;
	bool to_the_end; /* no event may tell of what comes next: ask until there is nothing */
	bool ends;       /* the source's FIN has come: what is left is the end */
	bool delays;     /* the destination holds small messages back; see flow_hurry() */
	uint64_t start;  /* of row->moved: what came before the stream, and was not sent */
	bool no_splice;  /* urgent data, at which it stops for ever; or it would block */
	bool no_copy;    /* the source's counters are not sure, or nothing can be parked */
	struct flow_habit *habit;
	struct copy_step *step;
	int32_t step_row;  /* index of the row, and */
	uint8_t step_side; /* enum side of the source: for a successor that has to finish a step of copying */
	char *scratch;     /* the worker's one buffer, SCRATCH_SIZE bytes */
	size_t scratch_len;
	struct pipepool *pool;
	size_t budget; /* bytes in this turn; counts down */
	size_t moved;  /* bytes taken from the source in this call */
	bool progress; /* a byte moved anywhere, parked ones included */
	int error;     /* positive errno */
};

/* Sends what is parked in the direction's pipe, and gives the pipe back when it is empty.
 * FLOW_EMPTY: nothing is parked now. */
enum flow_stop flow_drain(struct flow_io *io);
/* Reads and throws away what comes. */
enum flow_stop flow_discard(struct flow_io *io);

/* For the ways: what it means that a receive brought nothing, n being 0 or -errno. */
enum flow_stop flow_nothing_came(struct flow_io *io, ssize_t n);
/* Likewise: a send of n: not a byte, -errno. */
enum flow_stop flow_nothing_went(struct flow_io *io, ssize_t n);

/* Before every send; `before` bytes were sent since the beginning. The first message leaves at once in any case; the
 * next would be held back until that was acknowledged. A short connection never gets so far. */
void flow_hurry(struct flow_io *io, uint64_t before);

/* Gives the row's pipe back, or closes it if it must not be used again. It is empty. */
void flow_give_pipe_back(struct flow_io *io);

#endif
