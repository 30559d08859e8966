#include "os/systemd.h"

#include <errno.h>
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
#include "base/mem.h"
#include "base/text.h"

#define STATUS_MAX 1024 /* a message is at most 4096 bytes */

static bool is_our_pid(const char *text)
{
	uint64_t pid;

	return text && text_parse_uint(text, INT32_MAX, &pid) && pid == (uint64_t)getpid();
}

char *systemd_fd_name(const char *names, int i)
{
	while (i > 0 && *names) {
		names += strcspn(names, ":");
		names += *names == ':';
		i--;
	}
	return mem_strndup(names, strcspn(names, ":"));
}

int systemd_listen_fds(char **names)
{
	const char *pid_text = getenv("LISTEN_PID"), *n_text = getenv("LISTEN_FDS");
	uint64_t n = 0;
	bool ours = is_our_pid(pid_text) && n_text && text_parse_uint(n_text, 4096, &n);

	if (names)
		*names = mem_strdup(ours && getenv("LISTEN_FDNAMES") ? getenv("LISTEN_FDNAMES") : "");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (!ours)
		return 0;
	for (int fd = SYSTEMD_FIRST_FD; fd < SYSTEMD_FIRST_FD + (int)n; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return (int)n;
}

/* Out of the passed ones: what takes its place there can be closed by the code that goes through them. */
static int take_out(int fd, int above)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int taken = null < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, above);

	if (taken >= 0)
		dup3(null, fd, O_CLOEXEC);
	if (null >= 0)
		close(null);
	return taken < 0 ? -EMFILE : taken;
}

int systemd_take_stored(const char *name)
{
	const char *n_text = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	size_t len = strlen(name);
	uint64_t n;

	if (!is_our_pid(getenv("LISTEN_PID")) || !n_text || !names || !text_parse_uint(n_text, 4096, &n))
		return -ENOENT;
	for (int i = 0; i < (int)n; i++) {
		size_t at = strcspn(names, ":");

		if (at == len && memcmp(names, name, len) == 0)
			return take_out(SYSTEMD_FIRST_FD + i, SYSTEMD_FIRST_FD + (int)n);
		names += names[at] ? at + 1 : at;
	}
	return -ENOENT;
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

/* passed: a descriptor beside the message, -1: none. */
static int notify_with(const char *message, int passed)
{
	const struct timeval patience = {.tv_sec = 1};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct sockaddr_un sun;
	struct iovec iov = {.iov_base = (void *)message, .iov_len = strlen(message)};
	struct msghdr msg = {.msg_name = &sun, .msg_namelen = notify_address(&sun), .msg_iov = &iov, .msg_iovlen = 1};
	int fd, rc;

	if (msg.msg_namelen == 0)
		return -ENOENT;
	if (passed >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header = (struct cmsghdr){
		        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(&control.header), &passed, sizeof(int));
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	rc = sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

static void notify(const char *message)
{
	/* a service manager that does not listen is its own trouble */
	notify_with(message, -1);
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

static int notify_status(const char *before, const char *status)
{
	char message[STATUS_MAX + 128];

	snprintf(message, sizeof(message), "%sSTATUS=%.*s", before, status_length(status), status);
	return notify_with(message, -1);
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

	snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=reloading",
	         clock_mono_us());
	notify(message);
}

int systemd_stopping(const char *status)
{
	return notify_status("STOPPING=1\n", status);
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

/* ---- the descriptor store ---- */

int systemd_store(const char *name, int fd)
{
	char message[80];

	/* FDPOLL=0: it stays until it is removed, even if it reports an error */
	snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return notify_with(message, fd);
}

void systemd_unstore(const char *name)
{
	char message[80];

	snprintf(message, sizeof(message), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	notify(message);
}

int systemd_barrier(void)
{
	int ends[2], rc;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	rc = notify_with("BARRIER=1", ends[1]);
	close(ends[1]);
	if (rc == 0)
		return ends[0];
	close(ends[0]);
	return rc;
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

	if (!usec_text || (pid && !is_our_pid(pid)) || !text_parse_uint(usec_text, INT64_MAX, &usec) || usec == 0)
		return 0;
	return usec < 2000 ? 1 : (int64_t)(usec / 2000);
}
