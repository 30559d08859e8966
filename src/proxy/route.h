/*
 * route.h - which server of a pool a connection goes to next.
 *
 * The one that it had before, with `stick`. Else, by `balance` (balance.h), of these: those that are up, then those that nothing is known of, then those that refused a client lately; then the backups
 * in the same order; then those that were silent, then those that are ejected (eject.h). Never one that a check calls down (but for `on-down try`), a disabled one, one
 * that was tried already, or one at its limit.
 */
#ifndef PROXY_ROUTE_H
#define PROXY_ROUTE_H

#include "ipc/stick.h"
#include "proxy/limits.h"
#include "proxy/ruleset.h"

enum route_result {
	ROUTE_FOUND,
	ROUTE_ALL_TRIED, /* or all disabled */
	ROUTE_ALL_FULL,  /* at least one would do, but for its limit */
	ROUTE_ALL_DOWN,  /* at least one would do, but for what a check says */
};

#define ROUTE_POOL_MAX 64 /* servers of a pool that are told apart when they fail */

/* Who asks. */
struct route_client {
	uint64_t tried; /* a bit for each server of the pool that failed for this connection */
	int64_t now_ms;
	bool patient; /* it can wait: while a primary would do, but for its limit, none of the backups */
	const struct addr *addr;
	const struct stick *stick; /* where it is remembered; NULL: it is not */
	uint64_t stick_key;
};

/* On ROUTE_FOUND *ret is its index, and the connection is counted under its limit key. */
enum route_result route_next(const struct ruleset *rules, const struct section *s, struct world *world,
                             struct limits *limits, const struct route_client *client, uint32_t *ret);

/* What a choice would be now, for who asks why; nothing is taken. equals: of each server, whether it is as good as the chosen one. On
 * ROUTE_FOUND *ret is the chosen one. */
enum route_result route_explain(const struct ruleset *rules, const struct section *s, struct world *world,
                                const struct limits *limits, const struct route_client *client, bool *equals,
                                uint32_t *ret);

/* Would it get its server of before, and which is that? Nothing is taken. */
bool route_sticks(const struct ruleset *rules, const struct section *s, struct world *world,
                  const struct limits *limits, const struct route_client *client, uint32_t *ret);

/* Is it worth to ask? Counts nothing, and nobody's turn is taken. */
struct route_outlook {
	bool usable; /* there is a server to try */
	bool well;   /* one that did not fail when it was tried last */
	bool room;   /* below its limit; backups, and who was silent, count where there is no other */
};
struct route_outlook route_look(const struct ruleset *rules, const struct section *s, const struct world *world,
                                const struct limits *limits, int64_t now_ms);

#endif
