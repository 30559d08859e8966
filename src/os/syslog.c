#include "os/syslog.h"

#include <time.h>
#include <unistd.h>

#include "base/buf.h"

void syslog_init(struct syslog *s, const char *path, int facility)
{
	s->facility = facility;
	logsock_init(&s->sock, path ? path : SYSLOG_PATH);
}

void syslog_release(struct syslog *s)
{
	logsock_release(&s->sock);
}

int syslog_send(struct syslog *s, int severity, int64_t wall_us, const char *text)
{
	static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
	                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	struct buf message = BUF_INIT;
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm tm = {.tm_mday = 1};
	int err;

	localtime_r(&seconds, &tm);
	buf_addf(&message, "<%d>%s %2d %02d:%02d:%02d tcpproxy[%d]: %s", s->facility | severity,
	         months[tm.tm_mon % 12], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	         (int)getpid(), text);
	err = logsock_send(&s->sock, message.s, message.len, -1);
	buf_release(&message);
	return err;
}
