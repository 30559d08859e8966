#include "daemon/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "daemon/logger.h"
#include "os/landlock.h"
#include "os/proc.h"
#include "os/sock.h"

#define PATIENCE_MS 2000

/* The helper outlives upgrades, so it may be of another version than who asks. */
#ifdef OTHER_LAYOUT
#define VERSION (1 + OTHER_LAYOUT)
#else
#define VERSION 1
#endif

enum verb { OPEN_READ, OPEN_LOG, UNLINK };

struct wish {
	uint32_t version; /* first in every version; so is an int, 0 or -errno, in the answer */
	enum verb verb;
	char path[PATH_MAX];
};

static int fulfil(const struct wish *w)
{
	int fd;

	switch (w->verb) {
	case OPEN_READ:
		fd = open(w->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		return fd < 0 ? -errno : fd;
	case OPEN_LOG:
		return logger_open_file(NULL, w->path);
	case UNLINK:
		return unlink(w->path) < 0 ? -errno : 0;
	}
	return -EINVAL;
}

/* ---- the helper ---- */

static void serve(int fd)
{
	static struct wish w;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int len, rc, answer;

		poll(&p, 1, -1);
		len = sock_recv_message(fd, &w, sizeof(w), NULL, NULL);
		if (len == -EAGAIN || len == -EINTR)
			continue;
		if (len <= 0)
			return;
		w.path[PATH_MAX - 1] = '\0';
		rc = len == sizeof(w) && w.version == VERSION ? fulfil(&w) : -EPROTO;
		answer = rc < 0 ? rc : 0;
		sock_send_message(fd, &answer, sizeof(answer), &rc, rc > 0);
		if (rc > 0)
			close(rc);
	}
}

static _Noreturn void be_helper(int fd, const struct identity *identity, char *const *directories,
				size_t n)
{
	const int keep[] = {CAP_DAC_OVERRIDE};

	proc_title("tcpproxy: files");
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, sig == SIGPIPE || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT
				    ? SIG_IGN
				    : SIG_DFL);
	proc_close_except(3, &fd, 1);
	proc_null_streams(2);
	if (landlock_confine(directories, n) == 0 && user_become(identity, keep, 1) == 0 &&
	    user_raise(CAP_DAC_OVERRIDE, true) == 0)
		serve(fd);
	_exit(0);
}

bool files_start(struct files *f, const struct identity *identity, char *const *directories, size_t n)
{
	int pair[2];

	*f = (struct files){.fd = -1};
	if (!landlock_available() || sock_message_pair(pair) < 0)
		return false;
	f->pid = fork();
	if (f->pid == 0)
		be_helper(pair[1], identity, directories, n);
	close(pair[1]);
	if (f->pid < 0) {
		close(pair[0]);
		return false;
	}
	f->fd = pair[0];
	return true;
}

/* ---- the supervisor's side ---- */

static int ask(struct files *f, const struct wish *w)
{
	struct pollfd p = {.fd = f->fd, .events = POLLIN};
	int answer = -EACCES, fd = -1;
	size_t n_fds = 1;

	if (f->fd < 0 || sock_send_message(f->fd, w, sizeof(*w), NULL, 0) < 0)
		return -EACCES;
	if (poll(&p, 1, PATIENCE_MS) != 1 ||
	    sock_recv_message(f->fd, &answer, sizeof(answer), &fd, &n_fds) != sizeof(answer))
		return -EACCES;
	if (answer == -EPROTO)
		log_warning("%s: \"tcpproxy: files\" is still of the version that was started, which this one cannot ask: until "
			    "the next stop and start only what the service user may do is done",
			    w->path);
	return answer == 0 && n_fds == 1 ? fd : answer;
}

static int do_or_ask(struct files *f, enum verb verb, const char *path)
{
	static struct wish w;
	int rc;

	if (strlen(path) >= sizeof(w.path))
		return -ENAMETOOLONG;
	memset(&w, 0, sizeof(w));
	w.version = VERSION;
	w.verb = verb;
	snprintf(w.path, sizeof(w.path), "%s", path);
	rc = fulfil(&w);
	return rc == -EACCES || rc == -EPERM ? ask(f, &w) : rc;
}

int files_open_read(struct files *f, const char *path)
{
	return do_or_ask(f, OPEN_READ, path);
}

int files_open_log(struct files *f, const char *path)
{
	return do_or_ask(f, OPEN_LOG, path);
}

int files_unlink(struct files *f, const char *path)
{
	return do_or_ask(f, UNLINK, path);
}

void files_stop(struct files *f)
{
	if (f->fd >= 0)
		close(f->fd); /* it ends at that */
	f->fd = -1;
}
