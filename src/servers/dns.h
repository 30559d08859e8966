/*
 * dns.h - keeps the addresses of the configured servers fresh: asked at start, asked again when their time to live ends (within
 * `name-ttl`), and, after a failure, again after 1, 2, 4 ... 30 s.
 *
 * What was good once stays: an address that an answer leaves out for `name-hold`, so that name servers that show a part each time cost
 * nothing; all of them for `name-keep` when the answer is that there is no such name; and as long as nobody answers at all. If one
 * family is answered and the other is not, clients need not wait for that: its addresses are added when they come.
 */
#ifndef SERVERS_DNS_H
#define SERVERS_DNS_H

#include "config/config.h"
#include "event/resolve.h"
#include "ipc/world.h"

struct names; /* opaque */

/* What is known of a server's name from now on. */
struct named {
	uint32_t target;
	const struct addr *addrs; /* those of the answer in front; port 0 */
	size_t n;                 /* 0: it does not resolve; a good answer of earlier stays, but for: */
	bool more;                /* there may be others yet */
	bool forget;              /* there has been no such name for too long */
};

struct names_ops {
	void *arg;
	/* Each answer; some bring nothing new. */
	void (*named)(void *arg, const struct named *answer);
};

/* Returns 0 or -errno. The world is only looked at. */
int names_new(struct loop *l, const struct world *world, const struct names_ops *ops, struct names **ret);
void names_free(struct names *n); /* takes NULL */

/* From now on these servers (all of c's, which the world has taken) are looked after. If the name servers are others than
 * before, all names are asked again, and 1 is returned; else 0 or -errno. */
int names_set_config(struct names *n, const struct config *c);

/* Who asks the name servers that are asked now; lives as long as n. */
struct resolver *names_resolver(struct names *n);

/* Says once more what it knows of each: something of it was lost on the way. */
void names_tell_again(struct names *n);
/* Some server that is called by a name is this target. */
bool names_has(const struct world *w, const struct config *c, uint32_t target);
/* Who writes the world: puts an answer there. True: the target got its first answer, or other addresses. */
bool names_write(struct world *w, const struct named *answer);
/* Some server of it is called by a name that must be looked up. */
bool names_wanted(const struct config *c);

#endif
