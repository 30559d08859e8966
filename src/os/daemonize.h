/*
 * daemonize.h - to the background, once everything is there: the process that was started waits for the verdict, and ends with
 * the exit code of the one that goes on.
 */
#ifndef OS_DAEMONIZE_H
#define OS_DAEMONIZE_H

/* Returns in the child, which has a session of its own. 0 or -errno. */
int daemonize(void);
/* In the child: it serves. Its streams become /dev/null. Does nothing in another process. -errno: the foreground
 * process has gone. */
int daemonize_ready(void);

#endif
