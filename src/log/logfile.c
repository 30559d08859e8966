#include "log/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "os/safepath.h"

#define MODE 0640

int logfile_open(const char *path)
{
	int flags = O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd = open(path, O_WRONLY | flags, MODE);

	/* A FIFO without a reader so far: as a reader of it we keep what is written until one comes.
	 */
	if (fd < 0 && errno == ENXIO)
		fd = open(path, O_RDWR | flags, MODE);
	return fd < 0 ? -errno : fd;
}

static gid_t group = (gid_t)-1; /* of new files */

void logfile_find_group(void)
{
	const struct group *adm = getgrnam("adm");

	group = adm ? adm->gr_gid : (gid_t)-1;
}

static int create(const struct safepath *at, bool only_where_roots)
{
	int fd;

	if (only_where_roots && !safepath_is_roots(at->dir))
		return -EACCES;
	fd = safepath_create(at, O_WRONLY | O_APPEND, MODE);
	if (fd >= 0 && fchown(fd, 0, group) == 0)
		fchmod(fd, MODE); /* what the umask took away */
	return fd;
}

int logfile_open_at(int dir, const char *name, bool only_where_roots)
{
	struct safepath at;
	int rc = safepath_follow(dir, name, &at);

	if (rc < 0)
		return rc;
	rc = safepath_open(&at, O_WRONLY | O_APPEND);
	if (rc == -ENOENT)
		rc = create(&at, only_where_roots);
	if (rc == -EEXIST) /* another process was quicker */
		rc = safepath_open(&at, O_WRONLY | O_APPEND);
	safepath_release(&at);
	return rc;
}

int logfile_open_safely(const char *path)
{
	struct safepath at;
	int rc;

	rc = safepath_directory(path, &at);
	if (rc < 0)
		return rc;
	rc = logfile_open_at(at.dir, at.name, false);
	if (rc == -ENODEV && safepath_is_roots(at.dir))
		rc = logfile_open(path); /* /dev/null, a console: what root has put there */
	safepath_release(&at);
	return rc;
}

int logfile_stream_of(const char *path)
{
	if (strcmp(path, "/dev/stdout") == 0)
		return STDOUT_FILENO;
	return strcmp(path, "/dev/stderr") == 0 ? STDERR_FILENO : -1;
}

void logfile_take(struct logfile *f, int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	*f = (struct logfile){.fd = fd, .owned = true};
	if (fstat(fd, &st) == 0) {
		f->is_socket = S_ISSOCK(st.st_mode);
		f->is_regular = S_ISREG(st.st_mode);
	}
	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* systemd says which file the journal is, so that a redirected stderr is not taken for it. */
static bool leads_to_journal(const struct stat *st)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	char end;

	return stream && sscanf(stream, "%llu:%llu%c", &dev, &ino, &end) == 2 && dev == st->st_dev && ino == st->st_ino;
}

/* A daemon lets go of its stdout, but not of a log that was to go there. */
static void keep_stdout(struct logfile *f)
{
	int own = f->fd == STDOUT_FILENO ? fcntl(f->fd, F_DUPFD_CLOEXEC, 3) : -1;

	if (own < 0)
		return;
	f->fd = own;
	f->owned = true;
}

void logfile_open_stream(struct logfile *f, int stream)
{
	char path[32];
	struct stat st;
	int own;

	*f = (struct logfile){.fd = -1};
	if (fstat(stream, &st) < 0)
		return;
	f->fd = stream;
	f->is_socket = S_ISSOCK(st.st_mode);
	f->is_regular = S_ISREG(st.st_mode);
	f->is_journal = stream == STDERR_FILENO && leads_to_journal(&st);
	if (!S_ISFIFO(st.st_mode) && !isatty(stream)) {
		keep_stdout(f);
		return;
	}
	/* O_NONBLOCK belongs to the open file, which our starter shares: open one of our own. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", stream);
	own = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (own >= 0) {
		f->fd = own;
		f->owned = true;
	} else {
		f->may_block = true;
		keep_stdout(f);
	}
}

void logfile_close(struct logfile *f)
{
	if (f->owned)
		close(f->fd);
	*f = (struct logfile){.fd = -1};
}

static bool can_write_now(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1;
}

int logfile_write(struct logfile *f, const char *line, size_t len)
{
	struct iovec pieces[2] = {{"\n", f->torn ? 1 : 0}, {(void *)line, len}};
	struct msghdr msg = {.msg_iov = pieces, .msg_iovlen = 2};
	size_t all = pieces[0].iov_len + len;
	ssize_t n;

	if (f->fd < 0)
		return -EBADF;
	if (f->may_block) {
		if (!can_write_now(f->fd))
			return -EAGAIN;
		/* A pipe that is ready has room for this much at least. */
		if (all > PIPE_BUF)
			pieces[1].iov_len = PIPE_BUF - pieces[0].iov_len;
	}
	n = f->is_socket ? sendmsg(f->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) : writev(f->fd, pieces, 2);
	if (n < 0)
		return -errno;
	if ((size_t)n < all) {
		f->torn = (size_t)n > pieces[0].iov_len || (n == 0 && f->torn);
		return f->is_regular ? -ENOSPC : -EAGAIN;
	}
	f->torn = false;
	return 0;
}
