/* systemd.h - what systemd tells us and wants to be told. Without it all of this does nothing. */
#ifndef OS_SYSTEMD_H
#define OS_SYSTEMD_H

#include <stdint.h>
#include <sys/types.h>

#define SYSTEMD_FIRST_FD 3

/* Number of sockets passed to this very process (LISTEN_PID, LISTEN_FDS), from SYSTEMD_FIRST_FD up,
 * made close-on-exec; the variables are removed from the environment. *names, unless NULL: what systemd calls them (LISTEN_FDNAMES), with
 * colons between (free()). */
int systemd_listen_fds(char **names);
/* The name of the one that is number i, from 0 (free()); "": it has none. */
char *systemd_fd_name(const char *names, int i);
/* Before systemd_listen_fds(): the descriptor that an earlier process of the service has put into the store under this
 * name (the caller's from now on), or -ENOENT. Among the passed ones is /dev/null in its place. */
int systemd_take_stored(const char *name);

/* To $NOTIFY_SOCKET, if there is one. A manager that does not read is waited for a second at most,
 * and then not told. `status` is what `systemctl status` shows; only its first line is sent. */
void systemd_ready(const char *status);   /* that this process is the main one, too */
void systemd_reloading(void);             /* until the next systemd_ready() */
int systemd_stopping(const char *status); /* 0: a manager may read it */
void systemd_status(const char *status);
void systemd_alive(void); /* feeds the watchdog */
/* Another process is the main one from now on. Usually only the present one may say so. */
void systemd_main_pid(pid_t pid);
/* We go on in place of the process that was started: its watchdog is ours. */
void systemd_inherit(void);

/* The descriptor store: systemd keeps a copy of fd for the next process of the service as long as the service is to run, and
 * closes it when the service is stopped. Whether the unit has a store (FileDescriptorStoreMax=) is not said: fd is
 * closed at once if not. Returns 0 if it was sent, or -errno. */
int systemd_store(const char *name, int fd);
void systemd_unstore(const char *name); /* all of this name */
/* A descriptor that hangs up (POLLHUP) once systemd has dealt with all that it was told; -errno. */
int systemd_barrier(void);

/* How often the watchdog is to be fed: half of what it waits. 0: there is none, or it watches
 * another process (WATCHDOG_USEC, WATCHDOG_PID). */
int64_t systemd_watchdog_ms(void);

#endif
