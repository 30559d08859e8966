/*
 * pageserver.h - `tcpproxy: admin`: serves the page and the metrics out of read-only maps of what
 * the others write. Only this process loads the web library.
 *
 * What it is told: WIRE_RULES; and by the end of the channel, that another process serves from now on:
 * it finishes what was begun. What it says: lines for the log, and what wire.h lists.
 */
#ifndef PAGE_PAGESERVER_H
#define PAGE_PAGESERVER_H

#include "config/config.h"
#include "ipc/admin_socket.h"
#include "ipc/world.h"
#include "stats/history.h"

#define PAGE_NO_LIBRARY 3 /* exit code: starting it again does not help */

struct pageserver_setup {
	int control_fd;
	const struct admin_sockets *sockets;
	const struct world *world;
	struct trio *const *trios;
	uint32_t n_trios;
	struct history *history;
	int supervisor_pid;
	const char *config_path;
	struct config *config; /* the process's own from now on */
	uint64_t generation;
	bool again; /* there was such a process before: what is missing was said by it */
};

/* Returns the exit code. */
int pageserver_run(const struct pageserver_setup *setup);

#endif
