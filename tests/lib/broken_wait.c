/* For LD_PRELOAD: a worker's hundredth wait for events fails. A worker is told by the size of its journal. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/epoll.h>

#define TRIO_EVENTS 256

int epoll_wait(int epfd, struct epoll_event *events, int n, int ms)
{
	int (*real)(int, struct epoll_event *, int, int) = dlsym(RTLD_NEXT, "epoll_wait");
	static int count;

	if (n == TRIO_EVENTS && ++count == 100) {
		errno = ENOMEM;
		return -1;
	}
	return real(epfd, events, n, ms);
}
