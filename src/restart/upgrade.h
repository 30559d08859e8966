/*
 * upgrade.h - the program at the path we were started from replaces us, and no connection notices (upgrade.c).
 */
#ifndef RESTART_UPGRADE_H
#define RESTART_UPGRADE_H

#include "children/children.h"
#include "files/files.h"
#include "ipc/admin_socket.h"
#include "restart/guard.h"
#include "restart/inherit.h"
#include "restart/rolling.h"
#include "restart/trial.h"

struct upgrade_events {
	void (*over)(void *arg, bool done, const char *text); /* once for each upgrade; text: what came of it */
	int (*client)(void *arg); /* the client that waits for that, which goes over the exec; -1: none */
};

struct upgrade {
	/* handed to it */
	struct children *children;
	struct files *files;
	struct network *network;
	struct admin_sockets *admin_sockets;
	const char *binary; /* the program's absolute path, symbolic links kept */
	char *const *argv;  /* what it was started with */
	const struct upgrade_events *events;
	void *arg;
	/* its own */
	bool upgraded; /* we have just become this program */
	struct guard guard;
	struct trial trial;
	struct rolling rolling;
};

/* First thing: takes what the old program, if there was one, has left us; the admin sockets and their client are the caller's. */
void upgrade_inherit(struct upgrade *u, const struct inheritance *left);
/* We are the old program once more, as another process. */
bool upgrade_was_rolled_back(const struct upgrade *u);
/* Begins one: events->over says how it went. Else why it cannot begin now; NULL: it has begun. */
const char *upgrade_begin(struct upgrade *u);
/* The trios are ours: the guard may go, and they become the new program, too. */
void upgrade_taken_over(struct upgrade *u);
/* The trios are of another layout and will be retired: the guard goes on as their last reader. False: there is none. */
bool upgrade_leave_reader(struct upgrade *u);
/* Everything stops, or is left to others. */
void upgrade_stop(struct upgrade *u);

#endif
