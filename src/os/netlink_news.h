/*
 * netlink_news.h - that something has changed in the kernel's networking; what it was is not read.
 */
#ifndef OS_NETLINK_NEWS_H
#define OS_NETLINK_NEWS_H

#include <stddef.h>

/* A descriptor that is readable when there is news in one of n groups of this protocol (NETLINK_ROUTE and RTNLGRP_..., NETLINK_NETFILTER
 * and NFNLGRP_...); -errno. A group after the first that this kernel does not have is left out. */
int netlink_watch(int protocol, const int *groups, size_t n);
/* If they come without end, it is readable again at once. */
void netlink_drop_news(int fd);

#endif
