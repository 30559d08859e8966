/*
 * eject.h - `eject`: a server that failed for so many clients in a row, in all workers together, is left alone for a while; but never
 * more of a pool than its share.
 */
#ifndef PROXY_EJECT_H
#define PROXY_EJECT_H

#include "proxy/ruleset.h"

/* Server i of this section, which has `eject`, could not be connected, or (early) has ended a connection before it said anything. true:
 * it is ejected from now on. */
bool eject_failed(struct world *w, const struct section *s, const struct pool *p, uint32_t i, bool early,
                  int64_t now_ms);
/* Is it the server's doing that a connection to it failed with this errno? Else it is this host that lacks something. */
bool eject_is_servers(int error);

#endif
