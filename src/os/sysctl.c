#include "os/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int sysctl_open(const char *path, int flags)
{
	char whole[128];
	int fd;

	if ((size_t)snprintf(whole, sizeof(whole), "/proc/sys/%s", path) >= sizeof(whole))
		return -ENAMETOOLONG;
	fd = open(whole, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sysctl_get(const char *path, long *ret)
{
	int fd = sysctl_open(path, O_RDONLY), rc = 0;
	char text[32], *end;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		rc = -errno;
	close(fd);
	if (rc < 0)
		return rc;
	text[n] = '\0';
	*ret = strtol(text, &end, 10);
	return end == text ? -EINVAL : 0;
}

int sysctl_set(const char *path, long value)
{
	int fd = sysctl_open(path, O_WRONLY), rc = 0;

	if (fd < 0)
		return fd;
	if (dprintf(fd, "%ld\n", value) < 0)
		rc = -errno;
	close(fd);
	return rc;
}
