/* netlink.h - the addresses that this host's interfaces have now. */
#ifndef OS_NETLINK_H
#define OS_NETLINK_H

#include <stddef.h>
#include "base/addr.h"

/* *ret: free(). Returns how many. */
size_t netlink_addresses(struct interface_address **ret);

#endif
