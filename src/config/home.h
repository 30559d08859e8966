/*
 * home.h - which addresses and ports are our own: a connection to one of these addresses at one of these ports may come
 * back to us.
 */
#ifndef CONFIG_HOME_H
#define CONFIG_HOME_H

#include "config/config.h"

struct home {
	uint64_t ports[65536 / 64]; /* a bit for each one that is configured */
	struct addr *addrs;         /* of this host's interfaces, sorted */
	size_t n;
};

/* Zero it once. Copies what it needs. */
void home_init(struct home *h, const struct config *c, const struct interface_address *ifs, size_t n_ifs);
void home_release(struct home *h);

/* Some service has this port. */
bool home_has_port(const struct home *h, uint16_t port);
/* This host has this address, whatever its port and scope. Not asked of the kernel: it may have got others since. */
bool home_has_address(const struct home *h, const struct addr *a);
/* May calling this server lead to one of our ports, if its address is ours? */
bool home_may_be(const struct home *h, const struct server *s);

#endif
