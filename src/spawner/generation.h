/*
 * generation.h - the configurations by which questions are understood: the one in force, and the few before it that a question under
 * way may still mean.
 */
#ifndef SPAWNER_GENERATION_H
#define SPAWNER_GENERATION_H

#include <stdint.h>
#include "config/config.h"

struct generation {
	struct generation *next; /* older */
	uint64_t number;
	struct config *config;
	unsigned refs;
};

/* In front of *list, the newest first; c is taken over. */
void generation_add(struct generation **list, struct config *c, uint64_t number);
/* A reference, or NULL. */
struct generation *generation_get(struct generation *list, uint64_t number);
void generation_put(struct generation *g); /* takes NULL */
void generation_drop_all(struct generation **list);

#endif
