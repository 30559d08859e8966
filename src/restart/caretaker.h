/*
 * caretaker.h - the process that holds the trios while systemd decides what becomes of the service (restart.c).
 */
#ifndef RESTART_CARETAKER_H
#define RESTART_CARETAKER_H

#include "children/children.h"
#include "files/files.h"
#include "ipc/admin_socket.h"
#include "network/network.h"

/* What it is told through the lifeline. */
enum word { WORD_END = 'e', WORD_ALONE = 'a', WORD_READ = 'r' };

struct caretaker {
	struct children *children;
	enum phase *phase;
	/* what it does not need */
	struct sockets *listeners;
	struct admin_sockets *admin_sockets;
	struct files *files;
	struct network *network; /* which goes on by itself */
	int signal_fd;           /* by which the supervisor got signals */
	int lifeline_fd;
};

/* In a child of the supervisor, which ends as soon as ready_fd is closed. */
_Noreturn void caretaker_run(const struct caretaker *t, int ready_fd);

#endif
