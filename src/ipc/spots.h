/*
 * spots.h - what tcpproxyctl has changed of a server in one service only (SERVICE/SERVER), in memory that all processes share.
 *
 * A spot is a server, or a line that stands for many, in one service. There are only those of which something was said, found by a hash:
 * who chooses a server asks for them at each choice, and where nothing was said, at the cost of a look at `n`. A spot keeps its slot when
 * nothing is said of it any more, until another one needs it. Supervisors alone write; ipc/holds.c says what counts.
 */
#ifndef IPC_SPOTS_H
#define IPC_SPOTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "ipc/changed.h"

#define SPOTS_MAX    4096 /* a power of two */
#define SPOTS_PROBES 64   /* slots in which one may be */

struct spot {
	atomic_ullong who;       /* the service's number, and one, above the target's, and one; 0: nobody's yet */
	atomic_uint admin_state; /* enum admin_state, world.h */
	struct changed changed;
	atomic_ullong
	        told; /* what was told of it last while it was forced, as of a seat (server_state.h); 0: nothing */
};

struct spots {
	atomic_uint n; /* slots that are somebody's */
	struct spot list[SPOTS_MAX];
};

static inline uint32_t spot_target(const struct spot *p)
{
	return (uint32_t)atomic_load_explicit(&p->who, memory_order_relaxed) - 1;
}

static inline uint32_t spot_service(const struct spot *p)
{
	return (uint32_t)(atomic_load_explicit(&p->who, memory_order_relaxed) >> 32) - 1;
}

/* By their numbers. NULL: nothing was said of it. */
const struct spot *spots_find(const struct spots *p, uint32_t service, uint32_t target);
/* Supervisor only: found or made, with nothing said. NULL: there is no room. */
struct spot *spots_add(struct spots *p, uint32_t service, uint32_t target);
/* Supervisor only: nothing is said of it any more, nor was ever told. */
void spot_forget(struct spot *p);
/* Somebody's, of which something is said. */
bool spot_speaks(const struct spot *p);
/* Supervisor only: another one gets the number of this server. */
void spots_forget_target(struct spots *p, uint32_t target);
/* Those of another supervisor, through hands that may lie: only what can be is taken. */
void spots_copy(struct spots *now, const struct spots *before, uint32_t n_services, uint32_t n_targets);

#endif
