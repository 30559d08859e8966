#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"

#define FDS_LOOKED_AT 512

struct loop loop;
int64_t now_ms = 1000000;
struct found *found;

static char log_lines[16384];
static unsigned fds_before;
static struct rlimit limit_before;

int64_t __wrap_clock_mono_ms(void);

int64_t __wrap_clock_mono_ms(void)
{
	return now_ms;
}

static void take_line(void *arg, enum log_level level, const char *line)
{
	size_t len = strlen(log_lines);

	snprintf(log_lines + len, sizeof(log_lines) - len, "%s\n", line);
}

void fixture_begin_without_loop(void)
{
	forget_log();
	log_set_sink(take_line, NULL);
	if (!found) {
		found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		assert_true(found != MAP_FAILED);
	}
	memset(found, 0, sizeof(*found));
	fds_before = fds_open();
}

void fixture_end_without_loop(void)
{
	leave_room(-1);
	assert_int_equal(fds_open(), fds_before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
	assert_int_equal(errno, ECHILD);
}

void fixture_begin(void)
{
	fixture_begin_without_loop();
	assert_int_equal(loop_init(&loop, -1, NULL, 16), 0);
}

void fixture_end(void)
{
	loop_release(&loop);
	fixture_end_without_loop();
}

void turn(void)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_turn(&loop, 0), 0);
}

void pass(int64_t ms)
{
	now_ms += ms;
	turn();
}

unsigned logged(const char *part)
{
	unsigned n = 0;

	for (char *line = log_lines; *line; line = strchr(line, '\n') + 1) {
		const char *at = strstr(line, part);

		n += at && at < strchr(line, '\n');
	}
	return n;
}

int log_line(const char *part)
{
	const char *at = strstr(log_lines, part);
	int n = 0;

	for (const char *c = log_lines; at && c < at; c++)
		n += *c == '\n';
	return at ? n : -1;
}

void forget_log(void)
{
	*log_lines = '\0';
}

unsigned fds_open(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < FDS_LOOKED_AT; fd++)
		n += fd_is_open(fd);
	return n;
}

bool fd_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

void leave_room(int n)
{
	struct rlimit limit;

	if (limit_before.rlim_cur == 0)
		getrlimit(RLIMIT_NOFILE, &limit_before);
	limit = limit_before;
	if (n >= 0)
		for (limit.rlim_cur = 0; n > 0 || fd_is_open((int)limit.rlim_cur); limit.rlim_cur++)
			n -= !fd_is_open((int)limit.rlim_cur);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

int any_fd(void)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[0]);
	return ends[1];
}

/* ---- in a fake child ---- */

static bool is_null(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static void find_signals(void)
{
	sigset_t blocked;

	sigprocmask(SIG_SETMASK, NULL, &blocked);
	for (int sig = 1; sig < 64; sig++) {
		struct sigaction action;

		if (sigismember(&blocked, sig) == 1)
			found->blocked |= UINT64_C(1) << sig;
		if (sigaction(sig, NULL, &action) < 0 || action.sa_handler == SIG_DFL)
			continue;
		*(action.sa_handler == SIG_IGN ? &found->ignored : &found->caught) |= UINT64_C(1) << sig;
	}
}

static bool is_privileged(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	return syscall(SYS_capget, &head, data) < 0 || data[0].permitted || data[1].permitted;
}

static void find_title(void)
{
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

	if (read(fd, found->title, sizeof(found->title) - 1) < 0)
		*found->title = '\0';
	close(fd);
}

void find(void)
{
	struct stat err;

	alarm(10);
	found->pid = getpid();
	for (int fd = 3; fd < FDS_LOOKED_AT; fd++)
		if (fd_is_open(fd) && found->n_fds < FOUND_FDS)
			found->fds[found->n_fds++] = fd;
	found->null_in = is_null(STDIN_FILENO);
	found->null_out = is_null(STDOUT_FILENO);
	found->pipe_err = fstat(STDERR_FILENO, &err) == 0 && S_ISFIFO(err.st_mode);
	found->nonblocking_err = fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK;
	found->leads_session = getsid(0) == getpid();
	found->privileged = is_privileged();
	found->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	prctl(PR_GET_PDEATHSIG, &found->death_signal);
	find_signals();
	find_title();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

_Noreturn void live_until_hangup(int control_fd)
{
	struct pollfd p = {.fd = control_fd};

	while (!(p.revents & POLLHUP))
		poll(&p, 1, -1);
	_exit(0);
}

/* ---- in the test ---- */

bool has_found(int fd)
{
	for (int i = 0; i < found->n_fds; i++)
		if (found->fds[i] == fd)
			return true;
	return false;
}

int await(pid_t pid)
{
	int status;

	pid_t ended = waitpid(pid, &status, 0);

	assert_true(pid < 0 ? ended > 0 : ended == pid);
	return status;
}
