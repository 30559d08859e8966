/*
 * ruleset.h - a configuration as a worker holds it: loaded from the block that came from the supervisor (ipc/packed.h), ready to find a
 * section and choose a server by.
 */
#ifndef PROXY_RULESET_H
#define PROXY_RULESET_H

#include "config/home.h"
#include "ipc/packed.h"
#include "ipc/world.h"
#include "proxy/balance_round_robin.h"

/* Servers of a tier get clients when none of the tiers before it can have them. */
#define POOL_TIERS_MAX 8192

struct shortlist;

/* The pool of one section, ready to choose from. */
struct pool {
	uint32_t n;
	uint32_t *targets; /* of each server; index in the shared targets, or TARGET_NONE */
	uint32_t *seats;   /* of each server that is checked, else SEAT_NONE */
	uint64_t *asks;    /* of each seat */
	uint32_t *lines; /* of each server: of the line of which it is a member; index in the targets, or TARGET_NONE */
	uint64_t *limit_keys;    /* of each server, for `max` */
	uint32_t *tiers;         /* of each server: 0: it is asked first; else it is a backup */
	uint32_t service, whole; /* of its section, as in struct standing */
	uint32_t first_pass;     /* that of its first server; the others follow (world.h) */
	/* for the choice, while it is made: room for all, with the strides of the weights that they had the last time */
	struct contender *contenders;
	uint32_t *weights;
	uint64_t *strides;
	struct shortlist *shortlist; /* NULL: a small pool */
	uint64_t *hashes;            /* of each server, by its spelling */
	uint64_t line; /* its number (config_section_number()): where its clients wait, and of what they stick to */
};

struct ruleset {
	uint64_t generation;
	struct config *config;
	struct interface_address *ifs;
	uint32_t n_ifs;
	uint32_t *labels;       /* of each section */
	struct pool *pools;     /* of each section */
	uint64_t *random;       /* of `balance random`: a generator's word */
	uint64_t *service_keys; /* of each service, for its limit */
	uint32_t *services;     /* of each section: its service's number in the world */
	struct home home;       /* what is ours, as of when the interfaces were looked at */
	bool may_come_home;     /* some server may be a port of ours */
};

/* Loads a block. Its servers and services must be in the world already. NULL: it is not one. */
struct ruleset *ruleset_load(const void *block, size_t len, uint64_t generation, const struct world *world);
void ruleset_free(struct ruleset *r); /* takes NULL */

/* Before anything is decided about a connection: if it came over an address of one link, the interfaces that the rules
 * name after a % are looked at as they are now. fd: any socket. */
void ruleset_look_at_zones(struct ruleset *r, int fd, const struct addr *local, const struct addr *client);
const struct section *ruleset_find(const struct ruleset *r, const struct addr *local);

#endif
