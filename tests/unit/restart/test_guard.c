/* A child that still is the old program waits while the supervisor becomes another one: what it keeps, when it goes, and when it is the
 * supervisor again. */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../child.h"
#include "files/wire.h"
#include "os/private.h"
#include "os/sock.h"
#include "restart/guard.h"
#include "restart/inherit.h"

#define ROLLED_BACK "rolled-back"

/* What the processes of a test tell each other. */
static struct {
	pid_t tester;
	atomic_bool time_is_up; /* for the guard */
	atomic_bool go_on;      /* for the supervisor */
	atomic_uint looks;      /* of the guard, in vain, for signals */
	atomic_uint signals;    /* that the supervisor got, a bit each */
	atomic_bool stored;     /* by then its lifeline said that another end of it is in the store */
} * shared;

static struct guard guard;
static int client[2]; /* who waits for the end of the upgrade: its end, and ours */
static pid_t supervisor, guard_pid;
static bool no_fork;
static char *const argv[] = {(char *)"tcpproxy", (char *)ROLLED_BACK, NULL};

int __wrap_poll(struct pollfd *p, nfds_t n, int ms);
int __real_poll(struct pollfd *p, nfds_t n, int ms);

/* Its patience ends when the test says so. */
int __wrap_poll(struct pollfd *p, nfds_t n, int ms)
{
	int rc = 0;

	if (getpid() == shared->tester || ms != 20000)
		return __real_poll(p, n, ms);
	while (rc == 0 && !shared->time_is_up)
		rc = __real_poll(p, n, 2);
	return rc;
}

int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *patience);
int __real_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *patience);

int __wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *patience)
{
	int sig = __real_sigtimedwait(set, info, patience);

	if (sig < 0)
		shared->looks++;
	return sig;
}

pid_t __wrap_fork(void);
pid_t __real_fork(void);

pid_t __wrap_fork(void)
{
	errno = EAGAIN;
	return no_fork ? -1 : __real_fork();
}

/* The program that the guard executes: it says what it has been left to the client. */
static int say_what_was_left(void)
{
	struct inheritance i;

	inherit_take(&i);
	if (!i.upgraded)
		return 1;
	dprintf(i.client, "guard %d files %d lifeline %d spawner %d key %llx admin %zu %s %d watchdog %d", i.guard,
	        i.files >= 0, i.lifeline, i.spawner, (unsigned long long)i.key, i.admin.n,
	        i.admin.n ? i.admin.list[0].path : "", i.admin.n && sock_is_listening(i.admin.list[0].fd),
	        atoi(getenv("WATCHDOG_PID")) == getpid());
	return 0;
}

static int setup(void **state)
{
	fixture_setup(state);
	memset(shared, 0, sizeof(*shared));
	shared->tester = getpid();
	guard = (struct guard){.fd = -1, .lifeline_fd = -1};
	no_fork = false;
	supervisor = guard_pid = 0;
	assert_int_equal(sock_message_pair(client), 0);
	fixture_manager_begin();
	return 0;
}

static int teardown(void **state)
{
	if (supervisor)
		fixture_kill(supervisor);
	close(client[0]);
	close(client[1]);
	return fixture_teardown(state);
}

/* ---- the supervisor that becomes another program ---- */

static int start(void)
{
	const struct guarded what = {.children = &children,
	                             .files = &files,
	                             .network = &network,
	                             .admin_sockets = &admin_sockets,
	                             .client_fd = client[1],
	                             .argv = argv};

	return guard_start(&guard, &what);
}

static void hang(void)
{
	sigset_t all;

	close(client[0]);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL); /* they come by a descriptor */
	guard.fd = start();
	EXPECT(guard.fd >= 0);
	while (!shared->go_on)
		__real_poll(NULL, 0, 1);
}

static void die(void)
{
	hang();
	_exit(0);
}

static void get_signals(void)
{
	sigset_t all;
	char byte;

	sigfillset(&all);
	for (;;) {
		int sig = sigwaitinfo(&all, NULL);

		if (read(guard.lifeline_fd, &byte, 1) == 1)
			shared->stored = true;
		if (sig > 0 && sig != SIGCHLD)
			shared->signals |= 1u << sig;
	}
}

static void release(void)
{
	hang();
	guard_release(&guard);
	EXPECT(guard.fd == -1);
	get_signals();
}

static void leave_reader(void)
{
	hang();
	EXPECT(guard_leave_reader(&guard));
	get_signals();
}

static void begin(void (*fn)(void))
{
	const char *text;
	int fd;

	supervisor = fixture_fork(fn);
	text = fixture_manager_hear(&fd);
	assert_int_equal(sscanf(text, "MAINPID=%d", &guard_pid), 1);
}

/* ---- what comes of it ---- */

/* It has got a word. main: for the manager it still is the main process. */
static void expect_released(bool main)
{
	char expected[32];
	int probe, barrier, none;

	snprintf(expected, sizeof(expected), "MAINPID=%d", (int)supervisor);
	assert_string_equal(fixture_manager_hear(&none), expected);
	assert_string_equal(fixture_manager_hear(&probe), "FDSTORE=1\nFDNAME=probe\nFDPOLL=0");
	assert_true(probe >= 0);
	if (!main)
		close(probe);
	assert_string_equal(fixture_manager_hear(&barrier), "BARRIER=1");
	close(barrier);
	assert_string_equal(fixture_manager_hear(&none), "FDSTOREREMOVE=1\nFDNAME=probe");
	if (main)
		close(probe);
}

static void expect_rolled_back(int status, bool has_files)
{
	char text[300] = "", expected[300];
	struct pollfd p = {.fd = client[0], .events = POLLIN};

	assert_int_equal(fixture_end_of(supervisor), status);
	supervisor = 0;
	assert_int_equal(poll(&p, 1, FIXTURE_PATIENCE_MS), 1);
	assert_true(read(client[0], text, sizeof(text) - 1) > 0);
	snprintf(expected, sizeof(expected),
	         "guard %d files %d lifeline -1 spawner -1 key 1234567890abcdef admin 1 " FIXTURE_ADMIN " 1 watchdog 1",
	         INHERIT_ROLLED_BACK, has_files);
	assert_string_equal(text, expected);
	assert_int_equal(fixture_end_of(guard_pid), 0);
	assert_true(fixture_manager_has_heard_all());
}

/* Of the guard. */
static size_t open_there(void)
{
	char path[40];
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)guard_pid);
	d = opendir(path);
	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d));)
		n += *e->d_name != '.';
	closedir(d);
	return n;
}

/* It is the supervisor that has to reap it. */
static bool has_ended(pid_t pid)
{
	char path[40], state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return true;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	fclose(f);
	return state == 'Z';
}

static void test_it_keeps_what_it_needs(void **state)
{
	/* the streams, its pipe, its end of the lifeline, the client, an admin socket, the log, what wakes it */
	const size_t needed = 3 + 1 + 1 + 1 + 1 + 1 + FIXTURE_WORKERS;

	begin(release);
	UNTIL(open_there() == needed);
	shared->go_on = true;
	expect_released(false);
}

/* Whatever becomes of the trios. */
static void test_one_that_is_released_ends(void **state)
{
	pid_t member = fixture_sleeper();

	children.workers.list[0].trio->pid[MEMBER_KEEPER0] = member;
	begin(release);
	shared->go_on = true;
	expect_released(false);
	UNTIL(has_ended(guard_pid));
	fixture_kill(member);
	assert_true(fixture_manager_has_heard_all());
}

static void test_where_the_new_program_ends_it_is_the_supervisor_again(void **state)
{
	begin(die);
	shared->go_on = true;
	expect_rolled_back(0, false);
}

static void test_where_it_hangs_it_is_killed(void **state)
{
	begin(hang);
	shared->time_is_up = true;
	expect_rolled_back(SIGKILL, false);
}

/* An older one has only this socket. */
static void test_the_helper_for_files_goes_along(void **state)
{
	int helper[2];

	assert_int_equal(sock_message_pair(helper), 0);
	files = (struct files){.fd = helper[0], .version = FILES_VERSION_1};
	begin(hang);
	shared->time_is_up = true;
	expect_rolled_back(SIGKILL, true);
	close(helper[0]);
	close(helper[1]);
}

static void send_all_signals(void)
{
	static const int list[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		assert_int_equal(kill(guard_pid, list[i]), 0);
}

/* But for USR2: that is under way. */
#define PASSED_ON (1u << SIGTERM | 1u << SIGINT | 1u << SIGQUIT | 1u << SIGHUP | 1u << SIGUSR1)

static void test_signals_that_it_was_told_meanwhile_are_passed_on(void **state)
{
	begin(release);
	send_all_signals();
	shared->go_on = true;
	expect_released(false);
	UNTIL(shared->signals == PASSED_ON);
	assert_false(shared->stored);
}

/* The manager takes what is to be stored from nobody else. */
static void test_as_long_as_it_is_the_main_process_it_passes_them_on(void **state)
{
	int lifeline;

	begin(release);
	shared->go_on = true;
	expect_released(true);
	UNTIL(shared->looks > 2);
	send_all_signals();
	UNTIL(shared->signals == PASSED_ON);
	assert_string_equal(fixture_manager_hear(&lifeline), "FDSTORE=1\nFDNAME=lifeline\nFDPOLL=0");
	close(lifeline);
	assert_true(shared->stored);
	assert_false(has_ended(guard_pid));
	fixture_kill(supervisor);
	supervisor = 0;
	assert_int_equal(fixture_end_of(guard_pid), 0);
}

static void test_it_goes_on_as_the_last_reader(void **state)
{
	pid_t member = fixture_sleeper();
	uint64_t one = 1;

	children.workers.list[1].trio->pid[MEMBER_KEEPER0] = member;
	fixture_write_line(1, "of the old trio");
	begin(leave_reader);
	shared->go_on = true;
	expect_released(false);
	UNTIL(strstr(fixture_logged(), "of the old trio"));
	assert_true(fixture_runs(guard_pid));
	fixture_kill(member);
	assert_int_equal(write(children.workers.list[1].wake_fd, &one, sizeof(one)), sizeof(one));
	fixture_kill(supervisor);
	supervisor = 0;
	assert_int_equal(fixture_end_of(guard_pid), 0);
}

static void have_an_earlier_lifeline(void)
{
	int earlier[2];

	EXPECT(pipe2(earlier, O_CLOEXEC) == 0);
	guard.lifeline_fd = earlier[0];
	close(client[0]);
	guard.fd = start();
	EXPECT(guard.lifeline_fd >= 0 && guard.lifeline_fd != earlier[0]);
	EXPECT(fcntl(earlier[0], F_GETFD) < 0);
	EXPECT(fcntl(guard.lifeline_fd, F_GETFL) & O_NONBLOCK);
	guard_release(&guard);
	_exit(0);
}

static void test_the_lifeline_of_an_earlier_upgrade_is_closed(void **state)
{
	begin(have_an_earlier_lifeline);
	assert_int_equal(fixture_end_of(supervisor), 0);
	supervisor = 0;
}

static void test_one_that_cannot_be_made(void **state)
{
	struct rlimit before, little;
	int next = dup(0);

	close(next);
	getrlimit(RLIMIT_NOFILE, &before);
	for (rlim_t more = 0; more <= 2; more += 2) {
		little = (struct rlimit){(rlim_t)next + more, before.rlim_max};
		setrlimit(RLIMIT_NOFILE, &little);
		assert_int_equal(start(), -EMFILE);
		setrlimit(RLIMIT_NOFILE, &before);
	}
	no_fork = true;
	assert_int_equal(start(), -EAGAIN);
	assert_int_equal(guard.lifeline_fd, -1);
	assert_true(fixture_manager_has_heard_all());
}

static void test_one_that_is_not_there_is_told_nothing(void **state)
{
	guard_release(&guard);
	assert_false(guard_leave_reader(&guard));
	assert_string_equal(log_text, "");
}

static void test_one_that_is_gone(void **state)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[0]);
	guard.fd = ends[1];
	guard_release(&guard);
	assert_int_equal(guard.fd, -1);
	assert_string_equal(log_text, "upgrade: the guard is gone\n");
}

static void be_private(void)
{
	guard_stay_private();
	EXPECT(!getenv(PRIVATE_VARIABLE) == !private_is());
	prctl(PR_SET_DUMPABLE, 0);
	guard_stay_private();
	EXPECT(getenv(PRIVATE_VARIABLE) && strcmp(getenv(PRIVATE_VARIABLE), "1") == 0);
}

static void test_who_is_private_says_so_to_the_next_program(void **state)
{
	in_child(be_private);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(int argc, char **args)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_keeps_what_it_needs),
	        TEST(one_that_is_released_ends),
	        TEST(where_the_new_program_ends_it_is_the_supervisor_again),
	        TEST(where_it_hangs_it_is_killed),
	        TEST(the_helper_for_files_goes_along),
	        TEST(signals_that_it_was_told_meanwhile_are_passed_on),
	        TEST(as_long_as_it_is_the_main_process_it_passes_them_on),
	        TEST(it_goes_on_as_the_last_reader),
	        TEST(the_lifeline_of_an_earlier_upgrade_is_closed),
	        TEST(one_that_cannot_be_made),
	        TEST(one_that_is_not_there_is_told_nothing),
	        TEST(one_that_is_gone),
	        TEST(who_is_private_says_so_to_the_next_program),
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (argc == 2 && strcmp(args[1], ROLLED_BACK) == 0)
		_exit(say_what_was_left());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
