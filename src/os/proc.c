#include "os/proc.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/fds.h"

static char *title_area;
static size_t title_room;

void proc_title_init(int argc, char **argv)
{
	char **env;
	char *end;
	int n = 0;

	if (argc < 1)
		return;
	/* argv and environ stand one after the other in memory: together they are the room. */
	end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
	while (environ && environ[n]) {
		if (environ[n] == end)
			end += strlen(environ[n]) + 1;
		n++;
	}
	env = mem_alloc(((size_t)n + 1) * sizeof(char *));
	for (int i = 0; i < n; i++)
		env[i] = mem_strdup(environ[i]);
	environ = env;
	title_area = argv[0];
	title_room = (size_t)(end - argv[0]);
}

void proc_title(const char *fmt, ...)
{
	va_list ap;

	if (!title_area)
		return;
	memset(title_area, 0, title_room);
	va_start(ap, fmt);
	vsnprintf(title_area, title_room, fmt, ap);
	va_end(ap);
}

int proc_raise_nofile(rlim_t cap, struct rlimit *before)
{
	struct rlimit now;

	if (getrlimit(RLIMIT_NOFILE, before) < 0)
		return -errno;
	now = *before;
	now.rlim_cur = now.rlim_max > cap ? cap : now.rlim_max;
	if (now.rlim_cur <= before->rlim_cur)
		return 0;
	return setrlimit(RLIMIT_NOFILE, &now) < 0 ? -errno : 0;
}

void proc_size_table(unsigned n)
{
	int low = open("/", O_PATH | O_CLOEXEC);
	int high;

	if (low < 0)
		return;
	high = fcntl(low, F_DUPFD_CLOEXEC, (int)n - 1);
	if (high >= 0)
		close(high);
	close(low);
}

uint64_t proc_open_fds(int from, uint64_t among)
{
	struct pollfd p[64];
	uint64_t open = 0;

	if (!among)
		return 0;
	for (int i = 0; i < 64; i++)
		p[i] = (struct pollfd){.fd = among >> i & 1 ? from + i : -1};
	if (poll(p, 64, 0) < 0)
		return among;
	for (int i = 0; i < 64; i++)
		if (among >> i & 1 && !(p[i].revents & POLLNVAL))
			open |= UINT64_C(1) << i;
	return open;
}

int proc_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

bool proc_pidfd_dead(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

int proc_pidfd_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

pid_t proc_clone_member(int32_t *pid_word)
{
	/* The raw call: a libc wrapper would want a stack; the child goes on with a copy of this
	 * one. */
	return (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_PARENT_SETTID | SIGCHLD, NULL, pid_word, NULL, 0);
}

unsigned proc_fill_streams(void)
{
	static const int flags[] = {O_RDONLY, O_RDONLY, O_RDWR};
	unsigned filled = 0;

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags[fd]) == fd) /* the lowest that is free */
			filled |= 1u << fd;
	return filled;
}

void proc_leave_terminal(void)
{
	setsid();
}

void proc_null_streams(int last)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd <= last && null >= 0; fd++)
		dup2(null, fd);
	if (null > last)
		close(null);
}

void proc_streams(int err)
{
	proc_null_streams(STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
}

static int compare_ints(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

void proc_close_except(int from, int *keep, size_t n)
{
	unsigned next = (unsigned)from;

	if (n > 0)
		qsort(keep, n, sizeof(*keep), compare_ints);
	for (size_t i = 0; i < n; i++) {
		if (keep[i] < (int)next)
			continue;
		if ((unsigned)keep[i] > next)
			fds_close(next, (unsigned)keep[i] - 1);
		next = (unsigned)keep[i] + 1;
	}
	fds_close(next, ~0u);
}

void proc_reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, sig == SIGPIPE || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT || sig == SIGUSR1 ||
		                            sig == SIGUSR2
		                    ? SIG_IGN
		                    : SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t proc_first_child(void)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%d", &pid) != 1)
		pid = 0;
	fclose(f);
	return pid;
}

uint64_t proc_netns(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) < 0 ? 0 : st.st_ino;
}

uint64_t proc_resident(pid_t pid)
{
	unsigned long long size, resident;
	char path[40], text[128];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (sscanf(text, "%llu %llu", &size, &resident) != 2)
		return 0;
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void proc_program(pid_t pid, char ret[PROC_PROGRAM_MAX])
{
	char path[32];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		n = read(fd, ret, PROC_PROGRAM_MAX - 1);
		close(fd);
	}
	if (n > 0 && ret[n - 1] == '\n')
		n--;
	if (n <= 0) {
		strcpy(ret, "-");
		return;
	}
	ret[n] = '\0';
	for (char *c = ret; *c; c++)
		if (!isascii(*c) || !isgraph((unsigned char)*c) || *c == '"' || *c == '=')
			*c = '?';
}
