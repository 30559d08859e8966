/* tap.h - looking at connections: what the workers write into rings, as text and hex or as pcapng.
 */
#ifndef CTL_TAP_H
#define CTL_TAP_H

#include <stddef.h>

/* words: the command and its arguments; changed. Returns the exit code; runs until SIGINT or
 * SIGTERM, or until tcpproxy ends. */
int ctl_tap(const char *path, char **words, size_t n);

#endif
