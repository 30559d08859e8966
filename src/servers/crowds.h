/*
 * crowds.h - keeps the members of lines that stand for many servers: each address of a name (`server HOST each`), or the servers of a
 * service (`server srv:_NAME._PROTO.DOMAIN`), whose names have addresses again. Asked at start, asked again when their time to live
 * ends (within `name-ttl`), and, after a failure, again after 1, 2, 4 ... 30 s. What was good once stays, as known.h says.
 *
 * Port and host are of one record always. Changes that come together are told together.
 */
#ifndef SERVERS_CROWDS_H
#define SERVERS_CROWDS_H

#include "config/config.h"
#include "event/resolve.h"
#include "ipc/crowd.h"
#include "servers/known.h"

struct crowds; /* opaque */

/* A line. */
struct crowd_setup {
	const char *line; /* what it is known by */
	const char *name; /* to be asked: a host, or a service */
	bool is_service;
	uint16_t port;              /* of a host's addresses; 0: that at which the client comes */
	const struct member *known; /* its members of before, from whoever has asked then; in order */
	size_t n_known;
};

struct crowds_setup {
	struct loop *loop;
	struct resolver *resolver; /* borrowed */
	void (*untold)(void *arg); /* there is something for crowds_next() */
	void *arg;
};

struct crowds *crowds_new(const struct crowds_setup *setup);
void crowds_free(struct crowds *r); /* takes NULL; before its resolver */

struct crowd_times {
	int64_t ttl_min_ms, ttl_max_ms;
	struct known_times known;
};

/* From now on these lines are wanted, and no others: begin, each line, end. again: other name servers are to be asked. */
void crowds_begin(struct crowds *r, const struct crowd_times *times);
void crowds_want(struct crowds *r, const struct crowd_setup *line);
void crowds_end(struct crowds *r, bool again);

/* The next part of what is to be told. Returns how many members stand in it; -1: there is nothing to tell. */
int crowds_next(struct crowds *r, uint64_t *ret_id, struct crowd_part *ret);

#endif
