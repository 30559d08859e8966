/*
 * dns.h - keeps the addresses of the configured servers fresh: asked at start, asked again when their
 * time to live ends (at least a second), and, after a failure, again after 1, 2, 4 ... 30 s. A name
 * that was good once keeps its last addresses. If one family is answered and the other is not, clients need not wait for
 * that: its addresses are added when they come.
 */
#ifndef SERVERS_DNS_H
#define SERVERS_DNS_H

#include "config/config.h"
#include "event/resolve.h"
#include "ipc/world.h"

struct names; /* opaque */

/* changed(arg): some target got its first answer, or other addresses. Returns 0 or -errno. */
int names_new(struct loop *l, struct world *world, void (*changed)(void *arg), void *arg, struct names **ret);
void names_free(struct names *n); /* takes NULL */

/* From now on these servers (all of c's, which the world has taken) are looked after. If the name servers are others than
 * before, all names are asked again. */
int names_set_config(struct names *n, const struct config *c);
/* The same configuration, but /etc/resolv.conf may be another. (It is looked at before each question, too.) */
void names_refresh(struct names *n);

#endif
