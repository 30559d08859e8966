#include "os/logsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

void logsock_init(struct logsock *s, const char *path)
{
	*s = (struct logsock){.path = mem_strdup(path), .fd = -1};
}

static void disconnect(struct logsock *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void logsock_release(struct logsock *s)
{
	if (!s->path)
		return;
	disconnect(s);
	free(s->path);
	s->path = NULL;
}

static int connect_as(struct logsock *s, int type)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int err;

	if (strlen(s->path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, s->path);
	s->fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return -errno;
	if (connect(s->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		err = -errno;
		disconnect(s);
		return err;
	}
	s->stream = type == SOCK_STREAM;
	return 0;
}

static int connect_any(struct logsock *s)
{
	int err = connect_as(s, SOCK_DGRAM);

	return err == -EPROTOTYPE ? connect_as(s, SOCK_STREAM) : err;
}

static int send_once(struct logsock *s, const void *data, size_t len, int pass_fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.room = {0}};
	/* The second piece is the NUL that ends a message on a stream. */
	struct iovec pieces[2] = {{(void *)data, len}, {"", 1}};
	struct msghdr msg = {.msg_iov = pieces, .msg_iovlen = s->stream ? 2 : 1};
	ssize_t n;

	if (pass_fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.head = (struct cmsghdr){
		        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(&control.head), &pass_fd, sizeof(int));
	}
	n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	if (s->stream && (size_t)n <= len) {
		/* Half a message: only a new connection says where the next one begins. */
		disconnect(s);
		return -EAGAIN;
	}
	return 0;
}

int logsock_send(struct logsock *s, const void *data, size_t len, int pass_fd)
{
	bool fresh = s->fd < 0;
	int err = fresh ? connect_any(s) : 0;

	if (err == 0)
		err = send_once(s, data, len, pass_fd);
	if (err == 0 || err == -EAGAIN || err == -EMSGSIZE || err == -ENOBUFS)
		return err;
	/* The daemon that we were connected to is gone; perhaps its successor listens already. */
	disconnect(s);
	if (fresh)
		return err;
	return logsock_send(s, data, len, pass_fd);
}
