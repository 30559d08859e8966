/* pipe.h - pipes that hold bytes of a stream while its receiver is slow. -errno on failure. */
#ifndef OS_PIPE_H
#define OS_PIPE_H

#include <stddef.h>
#include <sys/types.h>

/* Nonblocking, close-on-exec; asks for `size` bytes of room (0: the kernel's default). Returns 1 if there is
 * less: the user's share is used up. */
int pipe_new(int ret[2], int size);
int pipe_room(int fd);   /* its size in bytes */
int pipe_filled(int fd); /* bytes in it */

/* Moves at most n bytes without copying; one end is a pipe. Never blocks on the pipe; a socket must
 * be nonblocking itself. Bytes moved, 0 at the end of the input, or -errno. */
ssize_t pipe_splice(int from, int to, size_t n);

#endif
