/*
 * slow_start.h - `slow-start TIME`: a server that comes back, or is new, has a tenth of its weight and of its `max`, and all of them
 * when it has been there for TIME. Computed whenever somebody asks, from words that say since when it has been there: nobody has to
 * count, and a death leaves nothing half grown.
 */
#ifndef IPC_SLOW_START_H
#define IPC_SLOW_START_H

#include <stdint.h>
#include "ipc/world.h"

#define SLOW_START_WHOLE 100000

/* How much of a server of this section there is now, in parts of SLOW_START_WHOLE; the section has `slow-start`. */
uint32_t slow_start_grown(const struct world *w, const struct section *s, const struct standing *of, int64_t now_ms);

/* So much of that. At least 1 of anything; of 0, which is no limit, or no new connection, it is 0. */
static inline uint32_t slow_start_part(uint32_t grown, uint32_t whole)
{
	uint32_t part = (uint32_t)((uint64_t)whole * grown / SLOW_START_WHOLE);

	return part || whole == 0 ? part : 1;
}

/* Connections at a time, as world_max() says, and no more than the server has grown to. */
uint32_t slow_start_max(const struct world *w, const struct section *s, const struct standing *of, uint32_t max,
                        int64_t now_ms);

#endif
