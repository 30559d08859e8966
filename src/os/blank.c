#include "os/blank.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "os/sock.h"

/* About 250 sockets; the kernel says that there is room again when three quarters of them are gone. */
#define QUEUE_BYTES (96 << 10)
#define FRESH_MS    1000

int blank_open(struct blank_queue *ret)
{
	int pair[2], bytes = QUEUE_BYTES, rc = sock_message_pair(pair);

	if (rc < 0)
		return rc;
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	*ret = (struct blank_queue){.read = pair[0], .write = pair[1]};
	return 0;
}

int blank_find(const struct blank_list *l, const struct blank_kind *kind)
{
	for (uint32_t i = 0; i < l->n && i < BLANK_KINDS_MAX; i++)
		if (memcmp(&l->kinds[i], kind, sizeof(*kind)) == 0)
			return (int)i;
	return -1;
}

int blank_make(const struct blank_kind *kind)
{
	int fd = sock_new_tcp((uint16_t)kind->family), rc = 0;

	if (fd < 0)
		return fd;
	if (kind->transparent)
		rc = sock_be_transparent(fd, kind->family == AF_INET6);
	if (rc == 0 && kind->mark)
		rc = sock_mark(fd, kind->mark);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/* Beside each socket stands when it was made. */
static int put(int write_fd, int fd)
{
	int64_t now_ms = clock_mono_ms();

	return sock_send_message(write_fd, &now_ms, sizeof(now_ms), &fd, fd >= 0);
}

int blank_fill(int write_fd, const struct blank_kind *kind)
{
	int rc = 0;

	while (rc == 0) {
		int fd = blank_make(kind);

		if (fd < 0)
			return fd;
		rc = put(write_fd, fd);
		close(fd);
	}
	return rc == -EAGAIN ? 0 : rc;
}

int blank_fill_absent(int write_fd)
{
	int rc = put(write_fd, -1);

	return rc == -EAGAIN ? 0 : rc;
}

static int take_one(int read_fd, int64_t *made_ms)
{
	size_t n = 1;
	int fd = -1, len;

	do
		len = sock_recv_message(read_fd, made_ms, sizeof(*made_ms), &fd, &n);
	while (len == -EINTR);
	if (len < 0)
		return len;
	return len == 0 ? -EPIPE : n == 1 ? fd : -ENONET;
}

int blank_take_new(int read_fd, int64_t since_ms)
{
	int64_t made_ms = 0;
	int fd = take_one(read_fd, &made_ms);

	while ((fd >= 0 || fd == -ENONET) && made_ms < since_ms) {
		if (fd >= 0)
			close(fd);
		fd = take_one(read_fd, &made_ms);
	}
	return fd;
}

int blank_take(int read_fd, const struct blank_kind *kind)
{
	return blank_take_new(read_fd, kind->netns ? clock_mono_ms() - FRESH_MS : INT64_MIN);
}
