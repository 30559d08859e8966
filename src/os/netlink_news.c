#include "os/netlink_news.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE 64 /* messages dropped */

int netlink_watch(int protocol, const int *groups, size_t n)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol), error = 0;
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK};

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		error = errno;
	for (size_t i = 0; i < n && !error; i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0 && i == 0)
			error = errno;
	if (!error)
		return fd;
	close(fd);
	return -error;
}

void netlink_drop_news(int fd)
{
	char news[8192];

	/* ENOBUFS: it was too much for the socket. That is news, too. */
	for (int i = 0; i < AT_ONCE; i++)
		if (recv(fd, news, sizeof(news), MSG_DONTWAIT) <= 0 && errno != ENOBUFS)
			return;
}
