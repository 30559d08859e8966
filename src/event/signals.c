#include "event/signals.h"
#include "base/progress.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void readable(void *arg, uint32_t events)
{
	struct signals *s = arg;
	struct signalfd_siginfo info;

	while (read(s->watch.fd, &info, sizeof(info)) == sizeof(info)) {
		progress();
		s->fn(s->arg, (int)info.ssi_signo);
	}
}

int signals_watch(struct loop *l, struct signals *s, const int *list, void (*fn)(void *arg, int sig), void *arg)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (; *list; list++) {
		signal(*list, SIG_DFL); /* an inherited "ignore" would hide it */
		sigaddset(&set, *list);
	}
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	s->fn = fn;
	s->arg = arg;
	return watch_add(l, &s->watch, fd, EPOLLIN, readable, s);
}
