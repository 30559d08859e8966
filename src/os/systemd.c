#include "os/systemd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/text.h"

#define STATUS_MAX 1024 /* a message is at most 4096 bytes */

static bool is_our_pid(const char *text)
{
	uint64_t pid;

	return text && text_parse_uint(text, INT32_MAX, &pid) && pid == (uint64_t)getpid();
}

int systemd_listen_fds(void)
{
	const char *pid_text = getenv("LISTEN_PID"), *n_text = getenv("LISTEN_FDS");
	uint64_t n = 0;
	bool ours = is_our_pid(pid_text) && n_text && text_parse_uint(n_text, 4096, &n);

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (!ours)
		return 0;
	for (int fd = SYSTEMD_FIRST_FD; fd < SYSTEMD_FIRST_FD + (int)n; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return (int)n;
}

/* ---- what it wants to be told ---- */

static socklen_t notify_address(struct sockaddr_un *ret)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len < 2 || len >= sizeof(ret->sun_path))
		return 0;
	memcpy(ret->sun_path, path, len);
	if (ret->sun_path[0] == '@')
		ret->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

static void notify(const char *message)
{
	const struct timeval patience = {.tv_sec = 1};
	struct sockaddr_un sun;
	socklen_t len = notify_address(&sun);
	int fd;

	if (len == 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	/* a service manager that does not listen is its own trouble */
	(void)!sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&sun, len);
	close(fd);
}

/* Of its first line what fits, not cut within a character. A further line would be another
 * assignment. */
static int status_length(const char *status)
{
	size_t len = strcspn(status, "\n");

	if (len > STATUS_MAX)
		for (len = STATUS_MAX; len > 0 && (status[len] & 0xc0) == 0x80; len--)
			;
	return (int)len;
}

static void notify_status(const char *before, const char *status)
{
	char message[STATUS_MAX + 128];

	snprintf(message, sizeof(message), "%sSTATUS=%.*s", before, status_length(status), status);
	notify(message);
}

void systemd_ready(const char *status)
{
	char before[64];

	snprintf(before, sizeof(before), "READY=1\nMAINPID=%d\n", (int)getpid());
	notify_status(before, status);
}

void systemd_reloading(void)
{
	char message[80];

	snprintf(message, sizeof(message),
	         "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=reloading", clock_mono_us());
	notify(message);
}

void systemd_stopping(const char *status)
{
	notify_status("STOPPING=1\n", status);
}

void systemd_status(const char *status)
{
	notify_status("", status);
}

void systemd_alive(void)
{
	notify("WATCHDOG=1");
}

void systemd_main_pid(pid_t pid)
{
	char message[32];

	snprintf(message, sizeof(message), "MAINPID=%d", (int)pid);
	notify(message);
}

void systemd_inherit(void)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
}

int64_t systemd_watchdog_ms(void)
{
	const char *pid = getenv("WATCHDOG_PID"), *usec_text = getenv("WATCHDOG_USEC");
	uint64_t usec;

	if (!usec_text || (pid && !is_our_pid(pid)) ||
	    !text_parse_uint(usec_text, INT64_MAX, &usec) || usec == 0)
		return 0;
	return usec < 2000 ? 1 : (int64_t)(usec / 2000);
}
