/*
 * sandbox.h - what the processes that strangers can speak to may still do. A worker: move bytes, and be
 * replaced; no file, no program, no process but the members of its trio. The server of the page: answer,
 * and look at /proc; no connection of its own, no program, no process. The checker: connections of its own, and
 * the files that say how names are looked up. The helper for files: nothing but files.
 */
#ifndef OS_SANDBOX_H
#define OS_SANDBOX_H

#include <stdbool.h>

/* To which Unix sockets of others a process may connect. */
enum unix_reach {
	UNIX_REACH_NONE,
	UNIX_REACH_FILES,
	UNIX_REACH_ALL, /* abstract ones, too */
};

/* Each puts no_new_privs, landlock and a system call filter on this process, each as far as the kernel and
 * the build have it. They return a text that says what could not be had and what that means
 * ("landlock, which..."), or NULL. */
const char *sandbox_worker(enum unix_reach reach);
const char *sandbox_page(void);
const char *sandbox_checker(bool abstract_sockets);
/* The filter alone, for a process that has confined itself (os/landlock.h). false: it cannot be had. */
bool sandbox_files(void);
/* Likewise for the one that makes sockets (network/socketsd.h), once it has loaded its library: it executes nothing, and speaks to nobody
 * but the kernel and those who are ours. */
bool sandbox_sockets(void);

#endif
