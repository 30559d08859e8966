/*
 * routes.h - what this machine's routing needs so that servers can be called from the clients' addresses, and their answers come to
 * us:
 *
 *   ip rule   fwmark MARK/MASK lookup TABLE           whatever carries the mark
 *   ip route  local default dev lo table TABLE        is for this machine
 *   nft       table inet tcpproxy-TABLE: what comes for a socket of ours that may use foreign addresses gets the mark: the answers
 *             of servers on other machines; and what it has the rules of `intercept` bring to us
 *   sysctl    net.ipv4.tcp_fwmark_accept: a server of this machine that is called by a socket with the mark answers with it; and
 *             fwmark_reflect, so does the kernel that refuses in its place
 *
 * No rule names a server or an address, so whoever calls the servers directly is answered as ever. All of it is found by who has made
 * it (protocol 217, the table's name), by us or by one of us that was killed. Which numbers of the kernel's we have changed is
 * written into the table, as chains without rules (put-back-...), so that they are put back whoever ends last.
 */
#ifndef NETWORK_ROUTES_H
#define NETWORK_ROUTES_H

#include <stdbool.h>
#include <sys/types.h>
#include "config/config.h"

/* What of it is needed: rule and route by `source client` and `intercept tproxy`; the numbers of the kernel's by `source client`; and rules of
 * `intercept` in the table (caught.h). */
struct routes_wanted {
	const struct routes *routes;
	bool routing, numbers;
	char *caught;   /* commands; NULL: none */
	char stamp[32]; /* a chain that stands with them */
};

/* Of this configuration, for us, who run as that user. false: *why has why not. */
bool routes_want(struct routes_wanted *w, const struct config *c, uid_t ourselves, struct buf *why);

/* As root, or with CAP_NET_ADMIN. What is there of it already stays as it is. false: it cannot be, *why says why, and what was done
 * is undone. Appends to *warnings, a line each: what works without it. */
bool routes_set_up(const struct routes_wanted *w, struct buf *why, struct buf *warnings);
/* Takes all of it away. What others of us still need stays. */
void routes_take_down(const struct routes *r);
/* Takes away what others of us have left who were killed, and which nobody uses now. Appends to *said what it was, a line each. */
void routes_clean(struct buf *said);
/* Somebody else may have taken a part of it away: is put back. Appends to *said what was missing, a line each. */
void routes_mend(const struct routes_wanted *w, struct buf *said);

#endif
