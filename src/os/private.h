/*
 * private.h - a process of a service that gave up root is not to be looked into by other processes of the same user: they
 * could take the sockets of its clients out of it (pidfd_getfd(2)), or trace it.
 *
 * Giving up root makes a process undumpable (prctl(2), PR_SET_DUMPABLE), which forbids that; but exec() makes it dumpable
 * again, and main() comes too late to forbid it. What does hold in between is a capability that the others do not
 * have (ptrace(2), "Ptrace access mode checking"): so each exec carries one, ambient, until main() has made
 * the process undumpable.
 *
 * A process that a user has started for their own use stays as it is: the programs of that user are the user.
 */
#ifndef OS_PRIVATE_H
#define OS_PRIVATE_H

#include <stdbool.h>
#include <sys/types.h>

/* Tells the program that is executed that it is one of these; older versions do not know it. */
#define PRIVATE_VARIABLE "TCPPROXY_PRIVATE"

/* The capability that is carried for this; useful for a reload besides. */
#define PRIVATE_CAPABILITY CAP_NET_BIND_SERVICE

/* Right after root was given up, and before the last capabilities are. */
void private_begin(void);
bool private_is(void);
/* Another process of the same user, is it one? */
bool private_is_of(pid_t pid);
/* Could an exec be carried over the gap? */
bool private_can_exec(void);

/* First thing in main(). true: this is such a process; its capabilities are permitted, and no more. `maybe`: it was
 * executed by a version that does not say so, but looks like one. */
bool private_after_exec(bool maybe);

#endif
