#include "daemon/door.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "os/proc.h"

/* FNV-1a (Fowler, Noll, Vo): stands for a text that is too long for a socket's name. */
static uint64_t hash(const char *text)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	while (*text)
		h = (h ^ (uint8_t)*text++) * 0x100000001b3ULL;
	return h;
}

static socklen_t name_of(const char *what, uint32_t number, struct sockaddr_un *ret)
{
	unsigned long long netns = proc_netns();
	size_t room = sizeof(ret->sun_path) - 1;
	int n;

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = snprintf(ret->sun_path + 1, room, "tcpproxy/%llu/%s/%u", netns, what, number);
	if (n < 0 || (size_t)n >= room)
		n = snprintf(ret->sun_path + 1, room, "tcpproxy/%llu/%016llx/%u", netns,
			     (unsigned long long)hash(what), number);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

int door_open(const char *what, uint32_t number)
{
	struct sockaddr_un sun;
	socklen_t len = name_of(what, number, &sun);
	int fd = new_socket();

	if (fd < 0)
		return fd;
	if (bind(fd, (struct sockaddr *)&sun, len) < 0 || listen(fd, 8) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

uid_t door_peer(int fd)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return (uid_t)-1;
	return cred.uid;
}

int door_knock(const char *what, uint32_t number, uid_t owner)
{
	struct sockaddr_un sun;
	socklen_t len = name_of(what, number, &sun);
	int fd = new_socket();

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&sun, len) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	if (door_peer(fd) != owner && door_peer(fd) != 0) {
		close(fd);
		return -EPERM;
	}
	return fd;
}
