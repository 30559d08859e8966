/* tapread.h - reading taps to a descriptor until told to stop: what tcpproxyctl and --dump
 * have in common. */
#ifndef BASE_TAPREAD_H
#define BASE_TAPREAD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/tap.h"

/* Shows what stands in the n rings, and what comes, on the descriptor `to`. wake_fd: says when
 * there is something, and ends with the last writer. stop: ends it when it is not 0. Returns 0 or
 * -errno of writing. */
int tap_read(struct ring **rings, size_t n, int wake_fd, struct tap_view *v, int to, const volatile sig_atomic_t *stop,
             uint64_t *lost);

#endif
