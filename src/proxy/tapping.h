/*
 * tapping.h - watching connections: what they are, and what they move, goes into rings of
 * shared memory.
 *
 * The streams go the way that they would go anyway: what passes through memory is copied from
 * there, what passes through a pipe by tee(2). A reader that is slow loses records, one that is
 * gone ends the tap.
 */
#ifndef PROXY_TAPPING_H
#define PROXY_TAPPING_H

#include "event/loop.h"
#include "proxy/flow.h"

struct engine;
struct session;
struct ring;

struct tapping {
	struct flow_tap hook; /* first */
	struct engine *engine;
	struct {
		struct watch watch;
		struct ring *ring;
		size_t ring_len;
	} taps[TRIO_TAPS];
	uint8_t *masks;         /* of each row: a bit for each tap that sees it; NULL: no tap yet */
	uint64_t (*offsets)[2]; /* of each row: of the next byte of each direction */
	char *buffer;           /* one record */
	int pipe[2];            /* for tee; -1: not made yet */
};

/* wake_fd and ring_fd are the engine's from now on. One that is known already does no harm (closed).
 */
void tapping_add(struct engine *e, uint64_t number, const struct tap_filter *filter, int wake_fd, int ring_fd);
/* In the next worker: those of the trio's memory. */
void tapping_recover(struct engine *e);

/* It is connected, or it is here from another worker: which taps see it? begins: nothing has moved
 * yet. */
void tapping_match(struct session *s, bool begins);
/* It has ended: row->end says how. */
void tapping_ended(struct session *s);

#endif
