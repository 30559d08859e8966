/* sock_message.c - messages with descriptors (sock.h). */
#include "os/sock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/progress.h"

int sock_send_message(int fd, const void *data, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(SOCK_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > SOCK_MAX_FDS)
		return -EINVAL;
	if (n_fds > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	if (TEMP_FAILURE_RETRY(sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0)
		return -errno;
	progress();
	return 0;
}

/* Takes the descriptors out of a received message; those beyond `room` are closed. */
static size_t take_fds(struct msghdr *msg, int *fds, size_t room)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < room)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

static int recv_message(int fd, void *data, size_t len, int *fds, size_t *n_fds, int flags)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(SOCK_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct msghdr msg = {
	        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	size_t room = n_fds ? *n_fds : 0;
	ssize_t n = TEMP_FAILURE_RETRY(recvmsg(fd, &msg, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC));

	if (n < 0) {
		int error = errno;

		if (n_fds)
			*n_fds = 0;
		return -error;
	}
	if (n > 0 && !(flags & MSG_PEEK))
		progress();
	room = take_fds(&msg, fds, room);
	while (n == 0 && room > 0) /* an empty message is taken for the end, where no descriptors are expected */
		close(fds[--room]);
	if (n_fds)
		*n_fds = room;
	return (int)n;
}

int sock_recv_message(int fd, void *data, size_t len, int *fds, size_t *n_fds)
{
	return recv_message(fd, data, len, fds, n_fds, 0);
}

int sock_peek_message(int fd, void *data, size_t len, int *fds, size_t *n_fds)
{
	return recv_message(fd, data, len, fds, n_fds, MSG_PEEK);
}

void sock_drop_message(int fd)
{
	char byte;

	/* without room for descriptors the kernel drops them with the message */
	sock_recv(fd, &byte, sizeof(byte), 0);
}

int sock_message_pair(int ret[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
}
