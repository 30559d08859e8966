/*
 * checkerd.h - `tcpproxy: checker`: asks the servers whether they are well, and writes what it finds out into memory that all
 * processes share (ipc/seats.h); and asks name servers for their addresses, which it tells the supervisor (servers/dns.h). No other
 * process of ours hears a byte of what they answer. It has no programs and no rights.
 *
 * It also holds the listening sockets that may refuse, and is the only process that has them do so (ports.h).
 *
 * What it is told: WIRE_RULES, WIRE_CHANNEL, and sockets (ipc/wire.h). What it says: lines for the log, WIRE_HEALTH, WIRE_NAMED, WIRE_CROWD. While its
 * supervisor is dead it goes on, for a minute: the next supervisor starts another one, and there is one only that does the checks, the one
 * whose number the world has. The sockets it gives back at once: the next supervisor may be a program that does not know that they refuse.
 */
#ifndef CHECKER_CHECKERD_H
#define CHECKER_CHECKERD_H

#include "config/config.h"
#include "ipc/world.h"

struct checkerd_setup {
	int control_fd;
	struct world *world;
	struct config *config; /* the process's own from now on */
	uint64_t generation;
	const struct interface_address *ifs;
	size_t n_ifs;
	int rearm_fds[WORLD_WORKERS]; /* eventfds: a worker looks again whether it may accept */
	uint32_t n_rearm;
	const struct blank_list *blanks; /* where sockets with a mark wait; NULL: nowhere */
	bool again;                      /* there was such a process before: what is missing was said by it */
};

/* Returns the exit code. */
int checkerd_run(const struct checkerd_setup *setup);

#endif
