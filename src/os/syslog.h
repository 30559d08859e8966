/*
 * syslog.h - messages to the local syslog daemon, RFC 3164 as it is spoken on /dev/log.
 *
 * Unlike syslog(3) it never waits, and opens nothing without our knowing.
 */
#ifndef OS_SYSLOG_H
#define OS_SYSLOG_H

#include <stdint.h>
#include "base/buf.h"
#include "os/logsock.h"

#define SYSLOG_PATH "/dev/log"

struct syslog {
	struct logsock sock;
	int facility; /* as in <syslog.h>: LOG_DAEMON... */
	struct buf message;
};

/* path: NULL for /dev/log. Nothing is opened before the first message. */
void syslog_init(struct syslog *s, const char *path, int facility);
void syslog_release(struct syslog *s);

/* One message: "<30>Sep  3 14:05:09 tcpproxy[17]: text". severity: LOG_ERR... of <syslog.h>.
 * Returns 0, or -errno if it was lost. */
int syslog_send(struct syslog *s, int severity, int64_t wall_us, const char *text);

#endif
