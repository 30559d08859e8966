/*
 * guard.h - a child that still is the old program while the supervisor becomes another one (upgrade.c, step 3): if that does not get
 * ready, it is the supervisor again.
 */
#ifndef RESTART_GUARD_H
#define RESTART_GUARD_H

#include <stdbool.h>
#include "children/children.h"
#include "files/files.h"
#include "ipc/admin_socket.h"
#include "network/network.h"

struct guard {
	int fd;          /* to it, in the new program; -1: none */
	int lifeline_fd; /* hangs up when the service is stopped (restart.c); -1: none */
};

/* What it needs to be the supervisor again. */
struct guarded {
	struct children *children;
	struct files *files;
	const struct network *network;
	struct admin_sockets *admin_sockets;
	int client_fd; /* waits for the end of the upgrade; -1: none */
	char *const *argv;
};

/* Returns the end of the pipe by which it is told, or -errno. It holds the other end of g->lifeline_fd, which is new. */
int guard_start(struct guard *g, const struct guarded *what);
/* It may go. */
void guard_release(struct guard *g);
/* It goes on as the last reader of trios that are to end. False: there is none. */
bool guard_leave_reader(struct guard *g);
/* Before an exec of ours: others of our user cannot look into the next program either, as far as we may see to it. */
void guard_stay_private(void);

#endif
