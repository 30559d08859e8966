/* admin_socket.h - the sockets at which we can be asked: the supervisor has all of them, the page those that are its. */
#ifndef IPC_ADMIN_SOCKET_H
#define IPC_ADMIN_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

/* A socket of ours in the file system, or for the page. */
struct admin_socket {
	char *path; /* of the page: "tcp:ADDR:PORT" */
	bool page;
	int fd;
	char *made;  /* the directory that was made for it; NULL: it was there */
	char *token; /* of the page: what steering needs; NULL: looking only */
};

struct admin_sockets {
	struct admin_socket *list;
	size_t n;
};

/* Closes them, in a process that has only a copy. */
void admin_sockets_let_go(struct admin_sockets *sockets);

#define ADMIN_PAGE_PREFIX "tcp:" /* of the path of a socket that the page serves */

#endif
