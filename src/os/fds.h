/*
 * fds.h - many descriptors of this process at once. By close_range(2) where there is one (Linux 5.9, and not forbidden
 * by a container's filter); else one after the other, as far as /proc/self/status says that the table reaches, or
 * without /proc, up to the limit of open files: then what was opened before that was lowered is not found.
 *
 * Async-signal-safe, so that the child of a fork may call them. They always succeed; errno is left as anything.
 */
#ifndef OS_FDS_H
#define OS_FDS_H

#include <stdbool.h>

/* Closes those from `first` to `last`, both included. */
void fds_close(unsigned first, unsigned last);
/* Is it an eventfd that never blocks? Without /proc that cannot be told: false. */
bool fds_is_eventfd(int fd);
/* Makes those from `first` on close-on-exec. */
void fds_cloexec(unsigned first);

#endif
