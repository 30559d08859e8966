#include "os/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

int netns_enter(const char *path, int *home)
{
	int there = open(path, O_RDONLY | O_CLOEXEC), rc;

	if (there < 0)
		return -errno;
	*home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	rc = *home < 0 || setns(there, CLONE_NEWNET) < 0 ? -errno : 0;
	close(there);
	if (rc < 0 && *home >= 0)
		close(*home);
	return rc;
}

void netns_leave(int home)
{
	if (setns(home, CLONE_NEWNET) < 0)
		_exit(1);
	close(home);
}
