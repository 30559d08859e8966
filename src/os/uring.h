/*
 * uring.h - many receives or sends in one system call.
 *
 * The ring is used like a longer system call: what is submitted has ended when the call returns, and nothing is ever
 * in flight between two calls. It can do nothing but receive and send: other operations are forbidden for good before
 * it is used, because a filter of system calls does not see them.
 */
#ifndef OS_URING_H
#define OS_URING_H

#include <stdbool.h>
#include <stddef.h>

#define URING_MOST 64 /* operations in one call */

struct uring;

/* A ring for this process alone: it is not inherited by what it clones, only its descriptor is. NULL, and errno: the kernel
 * or the administrator does not allow it (ENOSYS, EPERM, EACCES, ENOMEM, EINVAL). Before the filter of system calls. */
struct uring *uring_new(void);
/* Closes it, too. Takes NULL. */
void uring_free(struct uring *u);
/* Only the memory, in a process cloned from the one whose ring it is. Takes NULL. */
void uring_forget(struct uring *u);
/* Its descriptor, which is ours. */
int uring_fd(const struct uring *u);

/* Adds to the next call, at most URING_MOST. What recv() or send() would return comes to *ret, -errno for an error;
 * -EAGAIN also if it was not done at all. */
void uring_recv(struct uring *u, int fd, void *to, size_t len, int flags, int *ret);
void uring_send(struct uring *u, int fd, const void *from, size_t len, int flags, int *ret);
/* Does all that were added, which must not be such as may wait (MSG_DONTWAIT). false: not all could be begun, and the
 * ring is of no use any more. */
bool uring_run(struct uring *u);

#endif
