/*
 * single.h - one connection on stdin and stdout, as from inetd, a UCSPI server, ssh's ProxyCommand: the same
 * engine, spawner and resolver as in the daemon, all in this one process.
 */
#ifndef SINGLE_SINGLE_H
#define SINGLE_SINGLE_H

#include "config/config.h"

/* config: taken over; its lists are read through world. any_port: its first section serves, wherever the client came in. stdout_missing: it was closed when we
 * were started, so the client is gone (a closed stdin is one that has nothing to say). Returns the exit code: 0 relayed, 1 nothing is configured for this connection, 2 could not start, 3 denied,
 * 4 no server could be reached. */
int single_run(struct config *config, const struct config_ops *world, bool any_port, bool stdout_missing);

#endif
