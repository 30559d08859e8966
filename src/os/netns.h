/*
 * netns.h - other network namespaces, by their files (ip-netns(8)).
 */
#ifndef OS_NETNS_H
#define OS_NETNS_H

/* This thread is in that namespace from now on; needs CAP_SYS_ADMIN. *home: for the way back. 0; -EPERM: it may not; -ENOENT, -EINVAL ...: there
 * is none. */
int netns_enter(const char *path, int *home);
/* Back, or the process ends: where else it is it must not go on. */
void netns_leave(int home);

#endif
