#include "files/helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "log/logfile.h"
#include "os/caps.h"
#include "os/newfile.h"
#include "os/pidfile.h"
#include "os/proc.h"
#include "os/safepath.h"
#include "os/sandbox.h"
#include "os/sock.h"

#define ASKERS_MAX 8 /* the supervisor, and guards of upgrades */

static struct helper {
	const struct files_list *list;
	int askers[ASKERS_MAX]; /* -1: free */
} self;

/* ---- the verbs: a descriptor, 0, or -errno ---- */

static int open_to_read(const struct files_entry *e, const char *name)
{
	struct safepath at;
	int rc = safepath_follow(e->dir, name, &at);

	if (rc < 0)
		return rc;
	rc = safepath_open(&at, O_RDONLY);
	safepath_release(&at);
	return rc;
}

/* No kind but what was listed: a file of another kind is not to go because it has the name. */
static int remove_entry(const struct files_entry *e, const char *name)
{
	struct stat st;

	if (fstatat(e->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!e->directory && !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode) && !S_ISLNK(st.st_mode))
		return -ENODEV;
	return unlinkat(e->dir, name, e->directory ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
}

static void list_folder(const struct files_entry *e, struct buf *out)
{
	int fd = openat(e->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *found;

	while (d && (found = readdir(d))) {
		if (fnmatch(e->name, found->d_name, FNM_PERIOD) != 0)
			continue;
		buf_addf(out, "%s/%s", strcmp(e->folder, "/") ? e->folder : "", found->d_name);
		buf_addc(out, '\0');
	}
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}

static int as_memfd(const struct buf *text)
{
	int fd = memfd_create("tcpproxy-list", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (write(fd, text->s ? text->s : "", text->len) != (ssize_t)text->len || lseek(fd, 0, SEEK_SET) < 0) {
		close(fd);
		return -EIO;
	}
	return fd;
}

static int list_pattern(const char *pattern)
{
	struct buf names = BUF_INIT;
	bool listed = false;
	int fd;

	for (size_t i = 0; i < self.list->n; i++) {
		const struct files_entry *e = &self.list->entries[i];

		if (e->verb != FILES_LIST || strcmp(e->path, pattern) != 0)
			continue;
		listed = true;
		list_folder(e, &names);
	}
	fd = listed ? as_memfd(&names) : -ENOKEY;
	buf_release(&names);
	return fd;
}

/* The other end of one more socket. Its askers are told by the kernel, for pidfiles. */
static int admit(int fd)
{
	for (size_t i = 0; i < ARRAY_LEN(self.askers); i++)
		if (self.askers[i] < 0) {
			setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int));
			self.askers[i] = fd;
			return 0;
		}
	return -EMFILE;
}

static int another(void)
{
	int pair[2], rc = sock_message_pair(pair);

	if (rc == 0)
		rc = admit(pair[0]);
	if (rc == 0)
		return pair[1];
	if (rc == -EMFILE) {
		close(pair[0]);
		close(pair[1]);
	}
	return rc;
}

static int fulfil(const struct files_wish *w, pid_t asker)
{
	const struct files_entry *e;
	const char *name;

	if (w->verb == FILES_ANOTHER)
		return another();
	if (w->verb == FILES_LIST)
		return list_pattern(w->path);
	e = files_list_find(self.list, w->verb, w->path, &name);
	if (!e)
		return -ENOKEY;
	switch (w->verb) {
	case FILES_READ:
		return open_to_read(e, name);
	case FILES_APPEND:
		return logfile_open_at(e->dir, name, true);
	case FILES_REMOVE:
		return remove_entry(e, name);
	case FILES_NEW:
		return newfile_open_at(e->dir, name);
	case FILES_COMMIT:
		return newfile_commit_at(e->dir, name);
	default:
		return asker > 0 ? pidfile_write_at(e->dir, name, asker, false) : -EPERM;
	}
}

/* ---- questions ---- */

/* No message needs any. There is room for one and, because of how they are laid out, for another one after it. */
static void close_sent(struct cmsghdr *c)
{
	for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
		int fd;

		memcpy(&fd, (char *)c + at, sizeof(fd));
		close(fd);
	}
}

/* A message and its sender. Its length, 0 at the end, or -errno. */
static int receive(int fd, void *message, size_t room, pid_t *asker)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = message, .iov_len = room};
	struct msghdr msg = {
	        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct ucred cred;

	*asker = 0;
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			*asker = cred.pid;
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			close_sent(c);
		}
	}
	return (int)n;
}

static void answer(int fd, const struct files_wish *w, pid_t asker)
{
	struct files_answer a;
	int rc = w->version ? fulfil(w, asker) : -EPROTO;
	const char *why = rc == -ELOOP || rc == -ENODEV || rc == -EMLINK ? safepath_error(-rc) : NULL;
	size_t len = files_wire_answer(w, rc < 0 ? rc : 0, why, &a);
	int sent = sock_send_message(fd, &a, len, &rc, rc > 0);

	/* no descriptor can be sent now: the asker need not wait */
	if (sent < 0 && rc > 0)
		sock_send_message(fd, &a, files_wire_answer(w, sent, NULL, &a), NULL, 0);
	if (rc > 0)
		close(rc);
}

static void hear(int *fd)
{
	static struct files_question message;
	static struct files_wish w;
	pid_t asker;
	int len = receive(*fd, &message, sizeof(message), &asker);

	if (len == -EAGAIN || len == -EINTR)
		return;
	if (len <= 0) {
		close(*fd);
		*fd = -1;
		return;
	}
	files_wire_read(&message, (size_t)len, &w);
	answer(*fd, &w, asker);
}

static void serve(void)
{
	struct pollfd p[ASKERS_MAX];
	bool any = true;

	while (any) {
		for (size_t i = 0; i < ARRAY_LEN(p); i++)
			p[i] = (struct pollfd){.fd = self.askers[i], .events = POLLIN};
		if (poll(p, ARRAY_LEN(p), -1) < 0 && errno != EINTR)
			return;
		any = false;
		for (size_t i = 0; i < ARRAY_LEN(p); i++) {
			if (p[i].fd >= 0 && p[i].revents)
				hear(&self.askers[i]);
			any = any || self.askers[i] >= 0;
		}
	}
}

/* ---- the process ---- */

static void close_the_rest(int fd)
{
	int *keep = mem_alloc((self.list->n + self.list->n_rooms + 1) * sizeof(*keep));
	size_t n = 0;

	keep[n++] = fd;
	for (size_t i = 0; i < self.list->n; i++)
		keep[n++] = self.list->entries[i].dir;
	for (size_t i = 0; i < self.list->n_rooms; i++)
		keep[n++] = self.list->rooms[i].dir;
	proc_close_except(3, keep, n);
	free(keep);
}

_Noreturn void files_helper_run(int fd, const struct identity *identity, const struct files_list *list)
{
	/* to be let in; to remove what is root's from a sticky directory; to make what is root's */
	static const int rights[] = {CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN};

	proc_title("tcpproxy: files");
	mem_serve();
	proc_leave_terminal();
	/* what a terminal or a group is told is not for us: we end when no asker is left */
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, sig == SIGPIPE || sig == SIGINT || sig == SIGTERM || sig == SIGHUP || sig == SIGQUIT
		                    ? SIG_IGN
		                    : SIG_DFL);
	self = (struct helper){.list = list};
	memset(self.askers, -1, sizeof(self.askers));
	close_the_rest(fd);
	proc_null_streams(2);
	if (user_become(identity, rights, ARRAY_LEN(rights)) < 0 || caps_raise(CAP_DAC_OVERRIDE, true) < 0)
		_exit(1);
	caps_raise(CAP_FOWNER, true);
	caps_raise(CAP_CHOWN, true);
	admit(fd);
	if (landlock_confine(list->rooms, list->n_rooms, false) < 0)
		_exit(1); /* the list is the first wall, and there must be a second */
	sandbox_files();
	serve();
	_exit(0);
}
