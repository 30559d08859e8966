/*
 * refuse.h - a listening TCP socket that does not listen for a while: the kernel answers each SYN with a reset, whoever else holds the
 * socket, and the port stays ours.
 *
 * Both may be done again at any time, and by another process than the one that has done it before: each leaves what it says, whatever
 * a death in the middle has left. Two processes that do the opposite at the same time are one too many: a connection that is accepted
 * between the steps of refuse_begin() keeps the port from listening until it ends.
 */
#ifndef OS_REFUSE_H
#define OS_REFUSE_H

#include <stdbool.h>

/* Clients that wait in its queue are reset. 0 or -errno. Not for a socket that was bound to port 0, which would lose its number, nor
 * for one of another program. */
int refuse_begin(int fd);
/* It listens again. 0 or -errno: -EADDRINUSE: another program has been quicker, or see above. */
int refuse_end(int fd, int backlog);
/* Does this kernel do all that, with a socket of our own on this host? Asked once. */
bool refuse_works(void);

#endif
