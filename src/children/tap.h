/* tap.h - where workers write what they see of some connections, and the readers of that. */
#ifndef CHILDREN_TAP_H
#define CHILDREN_TAP_H

#include <stdint.h>
#include "os/sock.h"

/* The parts of a tap. ret (room for SOCK_MAX_FDS + 1): [0] is a socket that says when there is
 * something, and hangs up after the last worker; then a ring (base/tap.h) for each worker; ret[n]
 * is the workers' end of the socket. Returns n, or -errno. */
int tap_new(uint32_t n_workers, int *ret);
uint64_t tap_number(void); /* the next one */
/* A worker shall write there what it sees of these connections. */
struct worker;
struct tap_filter;
void tap_tell(struct worker *w, uint64_t number, const struct tap_filter *filter, int wake_fd, int ring_fd);

#endif
