/*
 * caps.h - the capabilities of this process (capabilities(7)). -errno on failure.
 */
#ifndef OS_CAPS_H
#define OS_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Is it permitted? */
bool caps_may(int capability);
/* To another process? */
bool caps_has(pid_t pid, int capability);
/* Makes a permitted capability effective or not. */
int caps_raise(int capability, bool on);
/* Of those that are permitted only `keep` (CAP_ numbers, n of them) stay so; none is effective. */
int caps_limit(const int *keep, size_t n);
/* What is permitted goes over an exec (ambient); and, in the new program, is permitted only, as before. */
void caps_keep_over_exec(void);
void caps_after_exec(void);
/* Gives up every capability. */
void caps_drop(void);

#endif
