/*
 * single.h - one connection on stdin and stdout, as from inetd, a UCSPI server, ssh's ProxyCommand: the same
 * engine, spawner and resolver as in the daemon, all in this one process.
 */
#ifndef DAEMON_SINGLE_H
#define DAEMON_SINGLE_H

#include "config/config.h"

/* config: taken over. any_port: its first section serves, wherever the client came in. Returns the
 * exit code: 0 relayed, 1 nothing is configured for this connection, 2 could not start, 3 denied,
 * 4 no server could be reached. */
int single_run(struct config *config, bool any_port);

#endif
