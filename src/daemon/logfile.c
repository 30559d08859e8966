#include "daemon/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int logfile_open(const char *path)
{
	int flags = O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd = open(path, O_WRONLY | flags, 0640);

	/* A FIFO that nobody reads yet: as a reader of it we keep what is written until one comes.
	 */
	if (fd < 0 && errno == ENXIO)
		fd = open(path, O_RDWR | flags, 0640);
	return fd < 0 ? -errno : fd;
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

	return stream && sscanf(stream, "%llu:%llu%c", &dev, &ino, &end) == 2 &&
	       dev == st->st_dev && ino == st->st_ino;
}

void logfile_open_stderr(struct logfile *f)
{
	struct stat st;
	int own;

	*f = (struct logfile){.fd = -1};
	if (fstat(STDERR_FILENO, &st) < 0)
		return;
	f->fd = STDERR_FILENO;
	f->is_socket = S_ISSOCK(st.st_mode);
	f->is_regular = S_ISREG(st.st_mode);
	f->is_journal = leads_to_journal(&st);
	if (!S_ISFIFO(st.st_mode) && !isatty(STDERR_FILENO))
		return;
	/* O_NONBLOCK belongs to the open file, which our starter shares: open one of our own. */
	own = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (own >= 0) {
		f->fd = own;
		f->owned = true;
	} else {
		f->may_block = true;
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
	n = f->is_socket ? sendmsg(f->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)
	                 : writev(f->fd, pieces, 2);
	if (n < 0)
		return -errno;
	if ((size_t)n < all) {
		f->torn = (size_t)n > pieces[0].iov_len || (n == 0 && f->torn);
		return f->is_regular ? -ENOSPC : -EAGAIN;
	}
	f->torn = false;
	return 0;
}
