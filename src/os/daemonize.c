#include "os/daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "os/proc.h"

#define UNKNOWN 2 /* the exit code of a child that says none */

static int report_fd = -1;

static _Noreturn void wait_for_child(int fd, pid_t pid)
{
	unsigned char code = UNKNOWN;
	int status;

	if (read(fd, &code, 1) == 1)
		_exit(code);
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		_exit(WEXITSTATUS(status) ? WEXITSTATUS(status) : UNKNOWN);
	_exit(UNKNOWN);
}

int daemonize(void)
{
	int pipe_ends[2];
	pid_t pid;

	if (pipe2(pipe_ends, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		close(pipe_ends[1]);
		wait_for_child(pipe_ends[0], pid);
	}
	close(pipe_ends[0]);
	report_fd = pipe_ends[1];
	setsid();
	return 0;
}

int daemonize_ready(void)
{
	int rc = 0;

	if (report_fd < 0)
		return 0;
	proc_null_streams(STDERR_FILENO);
	if (write(report_fd, "\0", 1) < 0)
		rc = -errno;
	close(report_fd);
	report_fd = -1;
	return rc;
}
