/* Programs that are told of changes: one at a time, bounded, also those of a spawner that is dead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "os/sock.h"
#include "program/notice.h"
#include "spawner/spawner.h"

static struct loop loop;
static struct spawner *spawner;
static struct programs_shared programs;
static int sock; /* the supervisor's end */
static struct buf lines;
static bool stopped;

/* Turns the loop until the condition holds, at most 20 s. */
#define WAIT_FOR(cond)                                                                                  \
	do {                                                                                            \
		int64_t until_ = clock_mono_ms() + 20000;                                               \
		bool holds_ = cond;                                                                     \
		while (!holds_ && clock_mono_ms() < until_) {                                           \
			loop_turn(&loop, 20);                                                           \
			holds_ = cond;                                                                  \
		}                                                                                       \
		if (!holds_)                                                                            \
			fail_msg("never became true: %s; log:\n%s", #cond, lines.s ? lines.s : "none"); \
	} while (0)

static void take_line(void *arg, enum log_level level, const char *line)
{
	buf_addf(&lines, "%s %s\n", log_level_name(level), line);
}

static bool logged(const char *text)
{
	return lines.s && strstr(lines.s, text);
}

static void on_stopped(void *arg)
{
	stopped = true;
}

static void begin_spawner(void)
{
	struct spawner_setup setup = {.loop = &loop, .umask = 022, .programs = &programs};
	int pair[2];

	getrlimit(RLIMIT_NOFILE, &setup.nofile);
	assert_int_equal(spawner_new(&setup, &spawner), 0);
	assert_int_equal(sock_message_pair(pair), 0);
	sock = pair[0];
	assert_int_equal(spawner_set_notices(spawner, pair[1]), 0);
}

static int setup(void **state)
{
	memset(&programs, 0, sizeof(programs));
	memset(&loop, 0, sizeof(loop));
	stopped = false;
	log_set_sink(take_line, NULL);
	assert_int_equal(loop_init(&loop, -1, NULL, 64), 0);
	begin_spawner();
	return 0;
}

static int teardown(void **state)
{
	spawner_stop(spawner, on_stopped, NULL);
	WAIT_FOR(stopped);
	spawner_free(spawner);
	close(sock);
	loop_release(&loop);
	for (int i = 0; i < PROGRAMS_MAX; i++)
		assert_int_equal(programs.list[i].owner, 0);
	buf_release(&lines);
	return 0;
}

static void ask(uint64_t serial, uint64_t key, const char *script, uint32_t timeout_ms)
{
	char *const argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)script, NULL}, *const env[] = {NULL};
	struct buf message = BUF_INIT;

	notice_pack((struct notice_question){.serial = serial, .key = key, .timeout_ms = timeout_ms}, "notify x for a",
	            argv, env, &message);
	assert_int_equal(sock_send_message(sock, message.s, message.len, NULL, 0), 0);
	buf_release(&message);
}

/* The next answer, or 0: there is none yet. */
static uint32_t answer(uint64_t *serial)
{
	struct notice_reply r;

	if (sock_recv_message(sock, &r, sizeof(r), NULL, NULL) != sizeof(r))
		return 0;
	*serial = r.serial;
	return r.event;
}

static void expect(uint64_t serial, enum notice_event event)
{
	uint32_t got = 0;
	uint64_t of = 0;

	WAIT_FOR((got = answer(&of)) != 0);
	assert_int_equal(of, serial);
	assert_int_equal(got, event);
}

static int running(void)
{
	int n = 0;

	for (int i = 0; i < PROGRAMS_MAX; i++)
		n += programs.list[i].owner != 0;
	return n;
}

static void it_starts_and_ends(void **state)
{
	ask(7, 1, "echo told; exit 3", 10000);
	expect(7, NOTICE_STARTED);
	expect(7, NOTICE_ENDED);
	WAIT_FOR(logged("notify x for a: told"));
	assert_true(logged("notify x for a: exit status 3"));
	assert_int_equal(programs.failed[PROGRAM_NOTIFY], 1);
	assert_int_equal(running(), 0);
}

static pid_t pid_of(uint64_t key)
{
	for (int i = 0; i < PROGRAMS_MAX; i++)
		if (programs.list[i].owner != 0 && programs.list[i].key == key)
			return programs.list[i].pid;
	return 0;
}

static void one_of_the_same_key_waits(void **state)
{
	ask(1, 5, "exec sleep 1000", 100000);
	expect(1, NOTICE_STARTED);
	ask(2, 5, "exit 0", 10000);
	ask(3, 6, "exit 0", 10000);
	expect(3, NOTICE_STARTED);
	expect(3, NOTICE_ENDED);
	assert_true(pid_of(5) > 0);
	kill(pid_of(5), SIGKILL);
	expect(1, NOTICE_ENDED);
	expect(2, NOTICE_STARTED);
	expect(2, NOTICE_ENDED);
}

static void one_that_takes_too_long_is_ended(void **state)
{
	ask(1, 5, "trap '' TERM; sleep 1000", 100);
	expect(1, NOTICE_STARTED);
	expect(1, NOTICE_ENDED);
	assert_true(logged("has not ended within 0.1 s, and is ended"));
	assert_int_equal(programs.failed[PROGRAM_NOTIFY], 1);
}

static void nonsense_is_nothing(void **state)
{
	assert_int_equal(sock_send_message(sock, "x", 1, NULL, 0), 0);
	ask(2, 5, "exit 0", 10000);
	expect(2, NOTICE_STARTED);
	expect(2, NOTICE_ENDED);
}

/* ---- what another one has left ---- */

/* A program in a session of its own that is no child of ours any more: as that of a spawner which is dead. */
static pid_t orphan(void)
{
	char ours[PATH_MAX] = "", theirs[PATH_MAX] = "", path[32];
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		execl("/bin/sleep", "sleep", "1000", NULL);
		_exit(1);
	}
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	assert_true(readlink("/proc/self/exe", ours, sizeof(ours) - 1) > 0);
	do {
		usleep(1000);
		memset(theirs, 0, sizeof(theirs));
	} while (readlink(path, theirs, sizeof(theirs) - 1) < 0 || strcmp(ours, theirs) == 0);
	return pid;
}

static void leave(int at, pid_t owner, pid_t pid, enum program_kind kind, uint64_t key, int64_t until_ms)
{
	struct program_entry *e = &programs.list[at];

	e->owner = owner;
	e->pid = pid;
	e->kind = kind;
	e->key = key;
	e->until_ms = until_ms;
}

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

/* The spawner ends, without its programs, and there is another one. */
static void next_spawner(void)
{
	spawner_free(spawner);
	close(sock);
	begin_spawner();
}

static void programs_of_checks_are_ended(void **state)
{
	pid_t pid = orphan();

	leave(3, 1 << 22, pid, PROGRAM_CHECK, 0, 0);
	next_spawner();
	WAIT_FOR(is_gone(pid));
	WAIT_FOR(running() == 0);
}

static void those_that_are_told_go_on_and_the_next_one_waits(void **state)
{
	pid_t pid = orphan();
	uint64_t serial;

	leave(3, 1 << 22, pid, PROGRAM_NOTIFY, 5, clock_mono_ms() + 1000000);
	next_spawner();
	ask(1, 5, "exit 0", 10000);
	for (int i = 0; i < 10; i++)
		loop_turn(&loop, 20);
	assert_int_equal(answer(&serial), 0);
	assert_false(is_gone(pid));
	kill(pid, SIGKILL);
	expect(1, NOTICE_STARTED);
	expect(1, NOTICE_ENDED);
}

static void until_their_time_is_over(void **state)
{
	pid_t pid = orphan();

	leave(3, 1 << 22, pid, PROGRAM_NOTIFY, 5, clock_mono_ms() + 100);
	next_spawner();
	WAIT_FOR(is_gone(pid));
	WAIT_FOR(running() == 0);
	assert_true(logged("has taken too long"));
}

/* What stands in memory that others write has nobody ended but programs. */
static void nobody_else_is_ended(void **state)
{
	const pid_t list[] = {1, getpid(), getppid(), -1, 1 << 22};

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		leave((int)i, 1 << 22, list[i], PROGRAM_CHECK, 0, 0);
	leave(10, 1 << 22, 0, PROGRAM_CHECK, 0, 0); /* it died before it started it */
	next_spawner();
	assert_int_equal(running(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(it_starts_and_ends, setup, teardown),
	        cmocka_unit_test_setup_teardown(one_of_the_same_key_waits, setup, teardown),
	        cmocka_unit_test_setup_teardown(one_that_takes_too_long_is_ended, setup, teardown),
	        cmocka_unit_test_setup_teardown(nonsense_is_nothing, setup, teardown),
	        cmocka_unit_test_setup_teardown(programs_of_checks_are_ended, setup, teardown),
	        cmocka_unit_test_setup_teardown(those_that_are_told_go_on_and_the_next_one_waits, setup, teardown),
	        cmocka_unit_test_setup_teardown(until_their_time_is_over, setup, teardown),
	        cmocka_unit_test_setup_teardown(nobody_else_is_ended, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
