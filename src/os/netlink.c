#include "os/netlink.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include "base/mem.h"

size_t netlink_addresses(struct interface_address **ret)
{
	struct ifaddrs *all;
	size_t n = 0;

	*ret = NULL;
	if (getifaddrs(&all) < 0)
		return 0;
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		struct interface_address a = {0};

		if (!i->ifa_addr)
			continue;
		addr_from_sockaddr(i->ifa_addr,
		                   i->ifa_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
		                                                      : sizeof(struct sockaddr_in),
		                   &a.addr);
		if (a.addr.family != AF_INET && a.addr.family != AF_INET6)
			continue;
		snprintf(a.name, sizeof(a.name), "%s", i->ifa_name);
		*ret = mem_resize(*ret, n + 1, sizeof(**ret));
		(*ret)[n++] = a;
	}
	freeifaddrs(all);
	return n;
}
