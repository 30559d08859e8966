/*
 * caught.h - which connections are brought to our ports (`intercept`), as rules of nft. They stand in the table of routes.h, and come and go
 * with it.
 */
#ifndef NETWORK_CAUGHT_H
#define NETWORK_CAUGHT_H

#include "base/buf.h"
#include "config/config.h"

/* Appends the commands that add chains and rules to this table; and an empty chain whose name, written to `stamp`, says that they are these. What
 * is meant for this machine is never caught, nor are our own connections. false: *why has why not: a user that there is not, or who is us. */
bool caught_add(const struct config *c, uid_t ourselves, const char *table, struct buf *commands, char stamp[32],
                struct buf *why);

#endif
