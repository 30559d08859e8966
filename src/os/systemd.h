/* systemd.h - what systemd tells us and wants to be told. Without systemd all of it does nothing. */
#ifndef OS_SYSTEMD_H
#define OS_SYSTEMD_H

#define SYSTEMD_FIRST_FD 3

/* Number of sockets passed to this very process (LISTEN_PID, LISTEN_FDS), from SYSTEMD_FIRST_FD up,
 * made close-on-exec; the variables are removed from the environment. */
int systemd_listen_fds(void);

/* "READY=1", "STOPPING=1"...: to $NOTIFY_SOCKET, if there is one. */
void systemd_notify(const char *state);

#endif
