/*
 * ruleset.h - a configuration as the processes that serve by it hold it.
 *
 * The supervisor packs the canonical text, the label of each section and the addresses of the
 * interfaces into one block of bytes (a sealed memfd); everybody else loads it from there. Nothing of it
 * needs a file, a name service or the network.
 */
#ifndef PROXY_RULESET_H
#define PROXY_RULESET_H

#include "base/buf.h"
#include "config/config.h"
#include "proxy/world.h"

/* The pool of one section, ready to choose from. */
struct pool {
	uint32_t n;
	uint32_t *targets;      /* of each server; index in the shared targets, or TARGET_NONE */
	uint64_t *limit_keys;   /* of each server, for `max` */
	uint32_t *turns;        /* round-robin by weight: servers in the order in which they come */
	uint32_t n_turns;
};

struct ruleset {
	uint64_t generation;
	struct config *config;
	struct interface_address *ifs;
	uint32_t n_ifs;
	uint32_t *labels;       /* of each section */
	struct pool *pools;     /* of each section */
	uint64_t *service_keys; /* of each service, for its limit */
	uint32_t *service_numbers; /* of each service, in the world's list */
};

/* Appends the block to out. labels: of each section of c. */
void ruleset_pack(const struct config *c, const uint32_t *labels,
		  const struct interface_address *ifs, uint32_t n_ifs, struct buf *out);

/* Just the configuration of a block. NULL: it is none. */
struct config *ruleset_unpack_config(const void *block, size_t len);
/* The same, of a sealed memfd, which is closed. */
struct config *ruleset_config_of(int fd);

/* Loads a block. Its servers and services must be in the world already. NULL: it is none. */
struct ruleset *ruleset_load(const void *block, size_t len, uint64_t generation,
			     const struct world *world);
void ruleset_free(struct ruleset *r); /* takes NULL */

const struct section *ruleset_find(const struct ruleset *r, const struct addr *local);

#endif
