#include "single/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#define PART 65536

static struct pump {
	int in, out; /* the outside */
	int socket;  /* our end of the pair */
	pthread_t reader, writer;
	bool started;
} pump;

static bool write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EAGAIN) {
			/* another process made it nonblocking */
			struct pollfd p = {.fd = fd, .events = POLLOUT};

			poll(&p, 1, -1);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static ssize_t read_some(int fd, char *data, size_t len)
{
	for (;;) {
		ssize_t n = read(fd, data, len);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLIN};

			poll(&p, 1, -1);
		} else if (n >= 0 || errno != EINTR) {
			return n;
		}
	}
}

/* stdin -> engine. Its end is the client's FIN. */
static void *read_in(void *arg)
{
	static char part[PART];
	ssize_t n;

	(void)arg;
	while ((n = read_some(pump.in, part, sizeof(part))) > 0)
		if (!write_all(pump.socket, part, (size_t)n))
			return NULL;
	shutdown(pump.socket, SHUT_WR);
	return NULL;
}

/* Stdout has no reader any more: a client that reset. The engine finds bytes of its own that were not
 * read, and the end. */
static void reset_client(void)
{
	shutdown(pump.socket, SHUT_RDWR);
}

/* engine -> stdout. The server's FIN closes stdout while stdin goes on. */
static void *write_out(void *arg)
{
	static char part[PART];
	ssize_t n;

	(void)arg;
	while ((n = read_some(pump.socket, part, sizeof(part))) > 0)
		if (!write_all(pump.out, part, (size_t)n)) {
			reset_client();
			break;
		}
	close(pump.out);
	return NULL;
}

int pump_start(int in, int out)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pump.in = fcntl(in, F_DUPFD_CLOEXEC, 3);
	pump.out = fcntl(out, F_DUPFD_CLOEXEC, 3);
	pump.socket = pair[1];
	if (pump.in < 0 || pump.out < 0)
		return -EBADF;
	pump.started = pthread_create(&pump.reader, NULL, read_in, NULL) == 0 &&
	               pthread_create(&pump.writer, NULL, write_out, NULL) == 0;
	return pump.started ? pair[0] : -EAGAIN;
}

int pump_gone(void)
{
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	/* closed with a byte that nobody has read: the kernel calls that a reset */
	rc = send(pair[0], "", 1, MSG_NOSIGNAL) < 0 ? -errno : pair[0];
	close(pair[1]);
	if (rc < 0)
		close(pair[0]);
	return rc;
}

void pump_finish(void)
{
	if (pump.started)
		pthread_join(pump.writer, NULL);
}
