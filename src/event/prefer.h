/*
 * prefer.h - which of two addresses of a host is tried first: RFC 6724, section 6. c-ares sorts the answer to one question; this
 * is for the answers to two, one for each family.
 */
#ifndef EVENT_PREFER_H
#define EVENT_PREFER_H

#include "base/addr.h"

struct way {
	struct addr to;
	struct addr from; /* the address that we would call from; AF_UNSPEC: there is no way */
};

/* Below 0: a before b; above 0: b before a; 0: no rule says. The rules 1, 2, 5, 6 and 8. */
int prefer_compare(const struct way *a, const struct way *b);
/* The kernel is asked for the source. */
struct way prefer_way_to(const struct addr *to);

#endif
