/*
 * logsock.h - a Unix socket on which a log daemon listens.
 *
 * Nothing here waits: what the daemon does not take at once is refused. A daemon that was started
 * again is found again with the next message.
 */
#ifndef OS_LOGSOCK_H
#define OS_LOGSOCK_H

#include <stdbool.h>
#include <stddef.h>

struct logsock {
	char *path;
	int fd;      /* -1: not connected */
	bool stream; /* meaningful while connected */
};

#define LOGSOCK_ROOM 1024 /* a line that says that there is no memory finds some */

/* Connects with the first message. The path is copied. */
void logsock_init(struct logsock *s, const char *path);
void logsock_release(struct logsock *s); /* also of a zeroed one or a second time */

/* One message. pass_fd: a descriptor that goes with it, or -1. On a stream a NUL ends the message.
 * Returns 0 or -errno: -EAGAIN the daemon is busy, -EMSGSIZE too large for one datagram,
 * -ENOENT, -ECONNREFUSED... there is no daemon. The message is then lost. */
int logsock_send(struct logsock *s, const void *data, size_t len, int pass_fd);

#endif
