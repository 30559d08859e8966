/* wait.h - tcpproxyctl wait: asks again and again until a server is as it is wanted, also over a restart of the daemon. */
#ifndef CTL_WAIT_H
#define CTL_WAIT_H

#include <stddef.h>

/* words: "wait" and its arguments. Returns what to exit with. */
int ctl_wait(const char *path, char **words, size_t n);

#endif
