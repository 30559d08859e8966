#include "os/pipe.h"
#include "base/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

int pipe_new(int ret[2], int size)
{
	if (pipe2(ret, O_NONBLOCK | O_CLOEXEC) < 0)
		return -errno;
	return size > 0 && fcntl(ret[1], F_SETPIPE_SZ, size) < 0 ? 1 : 0;
}

int pipe_room(int fd)
{
	int n = fcntl(fd, F_GETPIPE_SZ);

	return n < 0 ? -errno : n;
}

int pipe_filled(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) < 0 ? -errno : n;
}

ssize_t pipe_splice(int from, int to, size_t n)
{
	ssize_t moved = TEMP_FAILURE_RETRY(splice(from, NULL, to, NULL, n, SPLICE_F_NONBLOCK | SPLICE_F_MOVE));

	if (moved > 0)
		progress();
	return moved < 0 ? -errno : moved;
}
