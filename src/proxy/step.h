/*
 * step.h - what every step of a connection's life works with.
 *
 * A step is a struct embedded in the session, with X_start(x, ..., done, arg), X_event() or
 * X_resume(), and X_cancel(). It works on its row, and calls done(arg, outcome) once, last thing it
 * does: the session may reuse its memory at once. Steps do not know the session, nor each other.
 */
#ifndef PROXY_STEP_H
#define PROXY_STEP_H

#include "event/loop.h"
#include "proxy/pipepool.h"
#include "ipc/targets.h"
#include "takeover/table.h"

enum { LOOP_KIND_ROW = 1, LOOP_KIND_LISTENER = 2 };

struct flow_tap;
struct own_addresses;

struct step_env {
	struct loop *loop;
	struct trio *trio;
	struct targets *targets;
	struct pipepool pool;
	char *scratch;             /* SCRATCH_SIZE bytes of the trio's; nothing is in it between two calls */
	struct flow_tap *tap;      /* flow.h; NULL: no connection is watched */
	struct own_addresses *own; /* as_client.h */
	atomic_llong *seldom;      /* of the world; seldom.h */
	bool inherited;            /* the client's socket is not ours alone: its flags must stay */
};

static inline uint32_t row_index(struct trio *t, const struct row *r)
{
	return (uint32_t)(r - trio_row(t, 0));
}

/* The token of one of a row's descriptors: serial (24 bits), index, side. */
static inline uint64_t row_token(struct trio *t, const struct row *r, enum side side)
{
	return loop_token(LOOP_KIND_ROW,
	                  (uint64_t)(r->serial & 0xffffff) << 32 | (uint64_t)row_index(t, r) << 2 | (uint64_t)side);
}

struct row_name {
	uint32_t index, serial; /* the latter's low 24 bits */
	enum side side;
};

/* What the number of a token of LOOP_KIND_ROW says. */
static inline struct row_name row_named(uint64_t number)
{
	return (struct row_name){.index = (uint32_t)(number >> 2) & ((1u << 30) - 1),
	                         .serial = (uint32_t)(number >> 32) & 0xffffff,
	                         .side = (enum side)(number & 3)};
}

/* Events that another worker may have been told of. EPOLLMSG is never reported: it says "perhaps". */
#define PERHAPS_EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLMSG)
#define ROW_EVENTS     (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)

#endif
