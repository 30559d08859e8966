#include "os/blank.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>
#include "os/sock.h"

/* About 250 sockets; the kernel says that there is room again when three quarters of them are gone. */
#define QUEUE_BYTES (96 << 10)

int blank_open(struct blank_queue *ret)
{
	int pair[2], bytes = QUEUE_BYTES, rc = sock_message_pair(pair);

	if (rc < 0)
		return rc;
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	*ret = (struct blank_queue){.read = pair[0], .write = pair[1]};
	return 0;
}

static bool is_here(enum blank_kind kind)
{
	return kind == BLANK_4_HERE || kind == BLANK_6_HERE;
}

static bool is_v6(enum blank_kind kind)
{
	return kind == BLANK_6_HERE || kind == BLANK_6_AWAY;
}

int blank_make(enum blank_kind kind, uint32_t mark)
{
	int fd = sock_new_tcp(is_v6(kind) ? AF_INET6 : AF_INET), rc;

	if (fd < 0)
		return fd;
	rc = sock_be_transparent(fd, is_v6(kind), is_here(kind) ? mark : 0);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int blank_fill(int write_fd, enum blank_kind kind, uint32_t mark)
{
	int rc = 0;

	while (rc == 0) {
		int fd = blank_make(kind, mark);

		if (fd < 0)
			return fd;
		rc = sock_send_message(write_fd, "", 1, &fd, 1);
		close(fd);
	}
	return rc == -EAGAIN ? 0 : rc;
}

int blank_take(int read_fd)
{
	size_t n = 1;
	int fd = -1, len;
	char byte;

	do
		len = sock_recv_message(read_fd, &byte, 1, &fd, &n);
	while (len == -EINTR);
	if (len < 0)
		return len;
	return len == 0 ? -EPIPE : n == 1 ? fd : -EAGAIN;
}
