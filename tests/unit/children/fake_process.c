#include "fake_process.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool fork_really;
int fork_error, forks, its_end = -1, pairs_left = -1, kills, last_signal;
pid_t last_killed;

static int last_end; /* of the last pair of sockets */

pid_t __real_fork(void);
pid_t __wrap_fork(void);
int __real_sock_message_pair(int ret[2]);
int __wrap_sock_message_pair(int ret[2]);
int __wrap_kill(pid_t pid, int sig);

pid_t __wrap_fork(void)
{
	forks++;
	errno = fork_error;
	if (fork_error)
		return -1;
	if (fork_really)
		return __real_fork();
	fake_process_hangs_up();
	its_end = fcntl(last_end, F_DUPFD_CLOEXEC, 3);
	return FAKE_PID + forks - 1;
}

int __wrap_sock_message_pair(int ret[2])
{
	int rc = pairs_left == 0 ? -EMFILE : __real_sock_message_pair(ret);

	if (rc < 0)
		return rc;
	pairs_left -= pairs_left > 0;
	last_end = ret[1];
	return rc;
}

int __wrap_kill(pid_t pid, int sig)
{
	kills++;
	last_killed = pid;
	last_signal = sig;
	return 0;
}

void fake_process_hangs_up(void)
{
	if (its_end >= 0)
		close(its_end);
	its_end = -1;
}

void fake_process_reset(void)
{
	fake_process_hangs_up();
	fork_really = false;
	pairs_left = -1;
	fork_error = forks = kills = last_signal = 0;
	last_killed = 0;
}
