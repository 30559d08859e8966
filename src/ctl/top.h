/* top.h - the connections on a terminal, live. */
#ifndef CTL_TOP_H
#define CTL_TOP_H

#include <stddef.h>

/* words: the command and its arguments (-d SECONDS, filters); changed. Returns the exit code. */
int ctl_top(const char *path, char **words, size_t n);

#endif
