/* sysctl.h - numbers of the kernel's, by their path below /proc/sys. -errno on failure. */
#ifndef OS_SYSCTL_H
#define OS_SYSCTL_H

/* Of this process's network namespace, where it is one of those. */
int sysctl_get(const char *path, long *ret);
int sysctl_set(const char *path, long value);

#endif
