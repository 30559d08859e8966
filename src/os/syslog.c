#include "os/syslog.h"

#include <time.h>
#include <unistd.h>

void syslog_init(struct syslog *s, const char *path, int facility)
{
	s->facility = facility;
	s->message = (struct buf)BUF_INIT;
	buf_reserve(&s->message, LOGSOCK_ROOM);
	logsock_init(&s->sock, path ? path : SYSLOG_PATH);
}

void syslog_release(struct syslog *s)
{
	logsock_release(&s->sock);
	buf_release(&s->message);
}

int syslog_send(struct syslog *s, int severity, int64_t wall_us, const char *text)
{
	static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
	                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm tm = {.tm_mday = 1};

	localtime_r(&seconds, &tm);
	buf_clear(&s->message);
	buf_addf(&s->message, "<%d>%s %2d %02d:%02d:%02d tcpproxy[%d]: %s", s->facility | severity,
	         months[tm.tm_mon % 12], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)getpid(), text);
	return logsock_send(&s->sock, s->message.s, s->message.len, -1);
}
