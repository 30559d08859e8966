#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../missing.h"
#include "os/spawn.h"

#define PATIENCE_MS 20000 /* passing tests never wait that long */

static char *env[] = {"PATH=/usr/bin:/bin", NULL};

static int wait_readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms);
}

/* Runs a shell command with a pipe as its 1 and 2 and gives back its output and status. */
struct outcome {
	char text[4096];
	int status;
	int32_t pid_word;
	pid_t pid;
};

static int read_all(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len + 1 < size && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	return (int)len;
}

static int finish(struct spawned *p, int *status)
{
	int err;

	if (wait_readable(p->exec_fd, PATIENCE_MS) != 1)
		return -1;
	err = spawn_exec_result(p->exec_fd);
	if (wait_readable(p->pidfd, PATIENCE_MS) != 1 || spawn_reap(p, status) < 0)
		return -1;
	close(p->exec_fd);
	close(p->pidfd);
	return err;
}

static int run_shell(const char *command, struct outcome *o)
{
	int32_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *argv[] = {"/bin/sh", "-c", (char *)command, NULL};
	int pipefd[2], rc;
	struct spawn what = {.argv = argv, .env = env, .umask = 027, .pid_word = word};
	struct spawned p;

	memset(o, 0, sizeof(*o));
	if (word == MAP_FAILED || pipe2(pipefd, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	what.fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	what.fds[1] = what.fds[2] = pipefd[1];
	what.nofile = (struct rlimit){77, 88};
	rc = spawn_program(&what, &p);
	close(what.fds[0]);
	close(pipefd[1]);
	if (rc == 0) {
		fcntl(pipefd[0], F_SETFL, 0);
		o->pid_word = *word;
		o->pid = p.pid;
		read_all(pipefd[0], o->text, sizeof(o->text));
		rc = finish(&p, &o->status);
	}
	close(pipefd[0]);
	munmap(word, 4096);
	return rc;
}

static void test_status_output_and_pid(void **state)
{
	struct outcome o;
	char expected[32];

	assert_int_equal(run_shell("echo $$; exit 7", &o), 0);
	snprintf(expected, sizeof(expected), "%d\n", (int)o.pid);
	assert_string_equal(o.text, expected);
	assert_int_equal(o.pid_word, o.pid);
	assert_true(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 7);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie */
	assert_int_equal(run_shell("kill -9 $$", &o), 0);
	assert_true(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGKILL);
}

static void test_surroundings(void **state)
{
	struct outcome o;
	char expected[128];

	assert_int_equal(run_shell("pwd; umask; ulimit -Sn; ulimit -Hn; cat /proc/$$/oom_score_adj; "
	                           "ps -o pid= -o pgid= -o sid= -p $$ | tr -s ' '",
	                           &o),
	                 0);
	snprintf(expected, sizeof(expected), "/\n0027\n77\n88\n0\n%d %d %d\n", (int)o.pid, (int)o.pid, (int)o.pid);
	/* ps may put a space in front */
	assert_int_equal(strncmp(o.text, expected, strlen("/\n0027\n77\n88\n0\n")), 0);
	assert_non_null(strstr(o.text, strstr(expected, "\n0\n") + 3));
}

static void test_only_three_descriptors(void **state)
{
	struct outcome o;
	int extra = open("/dev/zero", O_RDONLY); /* not close-on-exec */

	assert_true(dup2(extra, 200) == 200);
	assert_int_equal(run_shell("for i in $(seq 0 300); do [ -e /proc/$$/fd/$i ] && echo -n $i,; done", &o), 0);
	assert_string_equal(o.text, "0,1,2,");
	close(extra);
	close(200);
}

static void test_signals_are_default_and_descriptors_block(void **state)
{
	struct outcome o;
	sigset_t set, before;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &before);
	assert_int_equal(run_shell("grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -s '\\t0\\n' ' '; "
	                           "grep flags /proc/self/fdinfo/1",
	                           &o),
	                 0);
	sigprocmask(SIG_SETMASK, &before, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	assert_non_null(strstr(o.text, "SigBlk: SigIgn: "));
	assert_non_null(strstr(o.text, "flags:\t01\n")); /* O_WRONLY, no O_NONBLOCK */
}

static void test_exec_failure(void **state)
{
	char *argv[] = {"/nonexistent/program", NULL};
	struct spawn what = {.argv = argv, .env = env, .fds = {0, 1, 2}};
	struct spawned p;
	int status;

	assert_int_equal(spawn_program(&what, &p), 0);
	assert_int_equal(finish(&p, &status), ENOENT);
	argv[0] = "/etc/passwd";
	assert_int_equal(spawn_program(&what, &p), 0);
	assert_int_equal(finish(&p, &status), EACCES);
}

/* Runs fn in a process of its own, because it changes what a process has only once. */
static void in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		alarm(PATIENCE_MS / 1000);
		_exit(fn());
	}
	assert_true(waitpid(pid, &status, 0) == pid);
	assert_int_equal(status, 0);
}

/* Copies 0 to 1 with the descriptors given lying on each other's places. Returns 0 if it worked. */
static int echo_through(int in, int out, int err)
{
	char *argv[] = {"/bin/sh", "-c", "read x; echo out $x; echo err $x >&2", NULL};
	struct spawn what = {.argv = argv, .env = env};
	int pipes[3][2], status = -1, rc;
	const int at[3] = {in, out, err};
	struct spawned p;
	char text[64];

	for (int i = 0; i < 3; i++) {
		int fds[2];

		if (pipe(fds) < 0)
			return 10;
		/* Ours go up, so that nothing of the test lies where descriptors are put. */
		for (int end = 0; end < 2; end++) {
			pipes[i][end] = fcntl(fds[end], F_DUPFD_CLOEXEC, 50);
			close(fds[end]);
		}
	}
	for (int fd = 0; fd < 5; fd++)
		close(fd);
	for (int i = 0; i < 3; i++) {
		what.fds[i] = at[i];
		if (dup2(pipes[i][i > 0], at[i]) < 0)
			return 11;
		close(pipes[i][i > 0]);
	}
	if (write(pipes[0][1], "hello\n", 6) != 6)
		return 12;
	rc = spawn_program(&what, &p);
	for (int i = 0; i < 3; i++)
		close(at[i]);
	if (rc < 0 || finish(&p, &status) != 0 || status != 0)
		return 13;
	if (read_all(pipes[1][0], text, sizeof(text)) < 0 || strcmp(text, "out hello\n") != 0)
		return 14;
	read_all(pipes[2][0], text, sizeof(text));
	return strcmp(text, "err hello\n") == 0 ? 0 : 15;
}

static int places_swapped(void)
{
	return echo_through(1, 0, 2) | echo_through(2, 0, 1) | echo_through(1, 2, 0);
}

static int places_of_the_report(void)
{
	return echo_through(4, 3, 0) | echo_through(3, 4, 5);
}

static void test_descriptors_in_awkward_places(void **state)
{
	in_child(places_swapped);
	in_child(places_of_the_report);
}

/* From now on clone3 and close_range do not exist, as in older kernels and some containers. */
static int without_new_calls(void)
{
	struct outcome o;
	char expected[64];

	if (!lose_call(SYS_clone3) || !lose_call(SYS_close_range))
		return 1;
	dup2(0, 20);
	if (run_shell("echo $$; for i in $(seq 0 300); do [ -e /proc/$$/fd/$i ] && echo -n $i,; done", &o) != 0)
		return 2;
	snprintf(expected, sizeof(expected), "%d\n0,1,2,", (int)o.pid);
	if (strcmp(o.text, expected) != 0)
		return 3;
	return o.pid_word == o.pid ? 0 : 4;
}

static void test_without_clone3(void **state)
{
	in_child(without_new_calls);
}

static void test_signal_reaches_the_group(void **state)
{
	char *argv[] = {"/bin/sh", "-c", "sleep 1000 & echo; exit 0", NULL};
	int pipefd[2], status;
	struct spawn what = {.argv = argv, .env = env};
	struct spawned p;
	char text[16];

	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	what.fds[0] = what.fds[2] = what.fds[1] = pipefd[1];
	assert_int_equal(spawn_program(&what, &p), 0);
	close(pipefd[1]);
	assert_int_equal(wait_readable(p.pidfd, PATIENCE_MS), 1);
	assert_int_equal(spawn_reap(&p, &status), 0);
	/* The leader is gone, its child is not. */
	assert_int_equal(spawn_signal(&p, 0), 0);
	assert_int_equal(spawn_signal(&p, SIGKILL), 0);
	assert_int_equal(read_all(pipefd[0], text, sizeof(text)), 1); /* until the last writer ends */
	/* until somebody who is not ours has reaped it */
	for (int ms = 0; ms < PATIENCE_MS && spawn_signal(&p, 0) == 0; ms += 10)
		usleep(10000);
	assert_int_equal(spawn_signal(&p, 0), -ESRCH);
	close(p.pidfd);
	close(p.exec_fd);
	close(pipefd[0]);
}

static void test_still_running(void **state)
{
	char *argv[] = {"/bin/sleep", "1000", NULL};
	struct spawn what = {.argv = argv, .env = env, .fds = {0, 1, 2}};
	struct spawned p;
	int status;

	assert_int_equal(spawn_program(&what, &p), 0);
	assert_int_equal(spawn_reap(&p, &status), -EAGAIN);
	assert_int_equal(spawn_signal(&p, SIGTERM), 0);
	assert_int_equal(finish(&p, &status), 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_status_output_and_pid),
	        cmocka_unit_test(test_surroundings),
	        cmocka_unit_test(test_only_three_descriptors),
	        cmocka_unit_test(test_signals_are_default_and_descriptors_block),
	        cmocka_unit_test(test_exec_failure),
	        cmocka_unit_test(test_descriptors_in_awkward_places),
	        cmocka_unit_test(test_without_clone3),
	        cmocka_unit_test(test_signal_reaches_the_group),
	        cmocka_unit_test(test_still_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
