/*
 * socketsd.h - the process "tcpproxy: sockets": it keeps CAP_NET_ADMIN, sets up the routing, and makes blank sockets.
 *
 * It runs twice, for the supervisor has given up root by then and could not start it again: one makes, the other watches it, takes its
 * place if it dies, and starts another watcher. It reads no byte of anybody's but the supervisor's one word that it is to end.
 *
 *   the supervisor's end     what it does
 *   says "end"               takes the routing away, ends
 *   is closed                goes on: its trios may live, and the next supervisor come. One that comes asks for what is claimed
 *                            (claims.h), and gets it: this one ends, and the routing stays
 *   and no trio is left      takes the routing away, ends
 */
#ifndef NETWORK_SOCKETSD_H
#define NETWORK_SOCKETSD_H

#include "config/config.h"
#include "os/blank.h"
#include "os/user.h"

#define SAID_MAX 2048

/* What it tells the supervisor: first how the beginning went, from then on lines for the log. The layout never changes. */
struct network_said {
	uint32_t failed; /* of the first: it could not begin, and has ended; text says why */
	char text[SAID_MAX];
};

struct socketsd_setup {
	int control_fd;
	const struct blank_kind *kinds; /* n of them */
	int queues[BLANK_KINDS_MAX];    /* their writing ends */
	size_t n;
	const struct config *config;
	const struct routes *routes;     /* its */
	const struct identity *identity; /* to become; NULL: not started by root */
	int supervisor;                  /* pid */
};

_Noreturn void socketsd_run(const struct socketsd_setup *setup);

#endif
