/*
 * pools.h - the sections whose port may refuse: has each of them a server that can be used? Looked up once for a configuration, then
 * looked at as often as one likes.
 */
#ifndef CHECKER_POOLS_H
#define CHECKER_POOLS_H

#include "ipc/world.h"

struct pool_standing {
	struct standing *list;
	size_t n;
	uint32_t service, whole; /* numbers in the world of what it counts for; COUNTED_SERVICES: it is not there */
	int64_t hold_ms;         /* the port does not refuse before none was usable for so long */
	int64_t none_ms;         /* since when none is (monotonic); 0: one is */
	bool usable;             /* when it was looked at last. One whose port may not refuse: always */
};

struct pools {
	const struct config *config; /* the caller's */
	const struct world *world;
	struct pool_standing *list; /* by section */
};

struct pools *pools_new(const struct config *c, const struct world *world);
void pools_free(struct pools *p); /* takes NULL */
void pools_look(struct pools *p, int64_t now_ms);

#endif
