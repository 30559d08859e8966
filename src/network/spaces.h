/*
 * spaces.h - the network namespaces of a configuration, in which servers are called: open, as far as they are there now. One that is
 * deleted and made anew is another one, and noticed when it is entered next.
 */
#ifndef NETWORK_SPACES_H
#define NETWORK_SPACES_H

#include <stdbool.h>
#include "config/config.h"

/* Of this process; needs CAP_SYS_ADMIN from then on. 0 or -errno: it cannot come back to where it is. */
int spaces_open(const struct config *c);
/* false: it is not there, or cannot be entered. Else this process is in it until spaces_leave(), which ends the process if it cannot go
 * back. */
bool spaces_enter(uint32_t id);
void spaces_leave(void);

#endif
