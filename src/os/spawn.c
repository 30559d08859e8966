#include "os/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "os/caps.h"
#include "os/fds.h"

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1U << 2)
#endif

#define FIRST_FREE 4 /* 0, 1, 2 are the program's, 3 tells of a failure */

/* ---- in the child: only system calls, no memory is allocated ---- */

_Noreturn static void child_fail(int report_fd, int err)
{
	ssize_t n = write(report_fd, &err, sizeof(err));

	(void)n; /* the parent may have gone */
	_exit(127);
}

/* What an ignored signal of ours would do to a program: a handler that never dies of SIGPIPE. */
static void child_reset_signals(void)
{
	/* The kernel's struct, all zero: SIG_DFL. Not through libc, which keeps its hands off the two
	 * signals it uses itself; but make(1), say, hands them on ignored. */
	static const struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		unsigned long mask;
	} sa;
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		syscall(SYS_rt_sigaction, sig, &sa, NULL, sizeof(sa.mask));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_clear_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && (flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* Descriptors to their places. They may lie on each other's, so all of them move away first. */
static int child_place_fds(const struct spawn *what, int report_fd)
{
	int moved[3];
	int report = fcntl(report_fd, F_DUPFD_CLOEXEC, FIRST_FREE);

	if (report < 0)
		child_fail(report_fd, errno);
	for (int i = 0; i < 3; i++) {
		moved[i] = fcntl(what->fds[i], F_DUPFD_CLOEXEC, FIRST_FREE);
		if (moved[i] < 0)
			child_fail(report, errno);
	}
	for (int i = 0; i < 3; i++) {
		if (dup2(moved[i], i) < 0)
			child_fail(report, errno);
		child_clear_nonblock(i);
	}
	if (dup3(report, 3, O_CLOEXEC) < 0)
		child_fail(report, errno);
	return 3;
}

_Noreturn static void child(const struct spawn *what, int report_fd)
{
	int report = child_place_fds(what, report_fd);

	fds_close(FIRST_FREE, ~0u);
	setsid();
	if (!what->keep_cwd && chdir("/") < 0)
		child_fail(report, errno);
	umask(what->umask);
	if (what->nofile.rlim_max)
		setrlimit(RLIMIT_NOFILE, &what->nofile);
	if (what->file_max)
		setrlimit(RLIMIT_FSIZE, &(struct rlimit){what->file_max, what->file_max});
	child_reset_signals();
	if (what->keep_private)
		caps_keep_over_exec();
	execve(what->argv[0], what->argv, what->env);
	child_fail(report, errno);
}

/* ---- in the parent ---- */

/* Kernels and containers without clone3: the pid is stored by the child itself, so a parent that
 * dies before the child's first instruction leaves the word 0 for a moment. */
static pid_t fork_child(int32_t *pid_word, int *pidfd)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (pid_word)
			*pid_word = (int32_t)getpid();
		return 0;
	}
	if (pid < 0)
		return -errno;
	if (pid_word)
		*pid_word = pid;
	*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*pidfd < 0) {
		int err = errno;

		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return -err;
	}
	return pid;
}

/* As fork(): 0 in the child, the pid in the parent, or -errno. */
static pid_t clone_child(int32_t *pid_word, int *pidfd)
{
	struct clone_args args = {
	        .flags = CLONE_PIDFD,
	        .pidfd = (uintptr_t)pidfd,
	        .exit_signal = SIGCHLD,
	};
	long pid;

	if (pid_word) {
		args.flags |= CLONE_PARENT_SETTID;
		args.parent_tid = (uintptr_t)pid_word;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0 && (errno == ENOSYS || errno == EPERM))
		return fork_child(pid_word, pidfd);
	return pid < 0 ? -errno : (pid_t)pid;
}

int spawn_program(const struct spawn *what, struct spawned *ret)
{
	sigset_t all, before;
	int pipefd[2], pidfd = -1;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return -errno;
	fcntl(pipefd[0], F_SETFL, O_NONBLOCK);
	/* No handler of ours may run in the child. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = clone_child(what->pid_word, &pidfd);
	if (pid == 0)
		child(what, pipefd[1]);
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(pipefd[1]);
	if (pid < 0) {
		close(pipefd[0]);
		return (int)pid;
	}
	*ret = (struct spawned){.pid = pid, .pidfd = pidfd, .exec_fd = pipefd[0]};
	return 0;
}

int spawn_exec_result(int exec_fd)
{
	int err = 0;
	ssize_t n = read(exec_fd, &err, sizeof(err));

	if (n == 0)
		return 0;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : errno;
	return n == sizeof(err) && err > 0 ? err : EIO;
}

int spawn_signal(const struct spawned *p, int sig)
{
	/* The pidfd pins the number, so the group meant is the one that gets it. Before Linux 6.9
	 * the number has to do: it is not given away while the group has a member. */
	if (syscall(SYS_pidfd_send_signal, p->pidfd, sig, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0)
		return 0;
	if (errno == EINVAL && kill(-p->pid, sig) == 0)
		return 0;
	if (errno != ESRCH)
		return -errno;
	/* The child may not have reached setsid() yet. */
	return syscall(SYS_pidfd_send_signal, p->pidfd, sig, NULL, 0) == 0 ? 0 : -errno;
}

int spawn_reap(const struct spawned *p, int *status)
{
	siginfo_t info;
	int rc;

	memset(&info, 0, sizeof(info));
	do {
		rc = waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0) {
		*status = W_EXITCODE(255, 0);
		return 0;
	}
	if (info.si_pid == 0)
		return -EAGAIN;
	if (info.si_code == CLD_EXITED)
		*status = W_EXITCODE(info.si_status, 0);
	else
		*status = info.si_status | (info.si_code == CLD_DUMPED ? WCOREFLAG : 0);
	return 0;
}
