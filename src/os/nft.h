/*
 * nft.h - commands of nft(8), by libnftables, which is loaded by the one process that needs it.
 */
#ifndef OS_NFT_H
#define OS_NFT_H

#include "base/buf.h"

/* NULL, or why not: what is wrong with the library, or with the command, in a line, until the next call. out: what the command
 * prints; NULL: that is dropped. */
const char *nft_run(const char *commands, struct buf *out);

/* A descriptor that is readable when tables have changed (netlink_news.h); -errno. */
int nft_watch(void);

#endif
