/*
 * resolve.h - names to addresses and back through c-ares, on a loop, blocking nobody.
 * /etc/hosts and nsswitch's order are honoured as c-ares does. A process that uses it must not
 * share its descriptor table (c-ares opens sockets by itself).
 */
#ifndef EVENT_RESOLVE_H
#define EVENT_RESOLVE_H

#include <stdint.h>
#include "base/addr.h"
#include "event/loop.h"

struct resolver; /* opaque */

/* servers: n name servers with their ports, or n 0: those of /etc/resolv.conf.
 * Returns 0 or -errno; *ret then belongs to the caller (resolver_free). */
int resolver_new(struct loop *l, const struct addr *servers, size_t n, struct resolver **ret);
/* Takes NULL; pending answers never come. Not from inside a callback. */
void resolver_free(struct resolver *r);
/* Whatever was asked with this arg is not answered any more. */
void resolve_cancel(struct resolver *r, const void *arg);

struct resolve_result {
	int error;             /* 0, or an ARES_ code */
	const char *why;       /* its text; NULL if none */
	const struct addr *addrs; /* in the order of RFC 6724, port 0; valid during the call */
	size_t n;
	uint32_t ttl_s;        /* the smallest; UINT32_MAX: the host was an address */
};
typedef void resolve_fn(void *arg, const struct resolve_result *result);

/* All addresses of a host. The callback may come before the call returns. */
void resolve_host(struct resolver *r, const char *host, resolve_fn *fn, void *arg);

/* The name of a client: its reverse name, if that resolves back to the address, within timeout_ms.
 * name is in lower case, of letters, digits, `.`, `_` and `-` only; "" if there is none, it is forged,
 * or time is up. Called exactly once, perhaps before the call returns. */
typedef void resolve_name_fn(void *arg, const char *name);
void resolve_client(struct resolver *r, const struct addr *client, int64_t timeout_ms,
		    resolve_name_fn *fn, void *arg);

#endif
