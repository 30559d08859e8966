/*
 * routing.h - rules and routes of this machine's routing, over netlink (rtnetlink(7)), by libmnl. All of it needs CAP_NET_ADMIN,
 * but the lists. 0 or -errno. Each call asks the kernel anew; none waits for anything else.
 */
#ifndef OS_ROUTING_H
#define OS_ROUTING_H

#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"

#define ROUTING_OURS \
	217 /* the protocol (who has made it) of our rules and routes, as `ip rule` and `ip route` show it */

/* ip rule add fwmark MARK/MASK lookup TABLE priority PRIORITY protocol PROTOCOL */
struct routing_rule {
	int family; /* AF_INET, AF_INET6 */
	uint32_t priority, mark, mask, table;
	uint8_t protocol;
	bool others; /* in a list: it asks for more than the mark: addresses, interfaces ... */
};

int routing_rules(int family, void (*each)(void *arg, const struct routing_rule *rule), void *arg);
/* -EEXIST: it is there. */
int routing_add_rule(const struct routing_rule *rule);
/* -ENOENT: it is not there. */
int routing_remove_rule(const struct routing_rule *rule);

/* ip route add local default dev lo table TABLE protocol 217: whatever is looked up there is for us. -EEXIST: it is there. */
int routing_add_local(int family, uint32_t table);
/* -ESRCH: it is not there. */
int routing_remove_local(int family, uint32_t table);
/* Routes of this table: that one, and others. */
int routing_count(int family, uint32_t table, unsigned *ret_ours, unsigned *ret_others);

/* Where packets to this address go: by which interface (IF_NAMESIZE); here: it is this machine's; direct: without a gateway. -errno: there
 * is no way. */
int routing_way(const struct addr *to, char *device, bool *here, bool *direct);

/* A descriptor that is readable when rules, routes or interfaces have changed (netlink_news.h); -errno. */
int routing_watch(void);

#endif
