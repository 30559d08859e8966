/* Who holds the trios while the manager decides what becomes of the service: how they get to know it, and what each word does. */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ipc/saying.h"
#include "os/sock.h"
#include "restart/caretaker.h"

static pid_t caretaker, members[FIXTURE_WORKERS], spawner;
static int lifeline[2], ready[2], helper[2];
static struct caretaker setup_of;

static void care(void)
{
	close(lifeline[1]);
	close(ready[0]);
	close(helper[1]);
	caretaker_run(&setup_of, ready[1]);
}

static int setup(void **state)
{
	sigset_t set;

	fixture_setup(state);
	phase = PHASE_LEAVING;
	assert_int_equal(pipe2(lifeline, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(sock_message_pair(helper), 0);
	files.fd = helper[0];
	rules.listeners.list = calloc(1, sizeof(*rules.listeners.list));
	rules.listeners.list[rules.listeners.n++] = (struct socket_entry){.id = 1, .fd = sock_new_unix()};
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	setup_of = (struct caretaker){.children = &children,
	                              .phase = &phase,
	                              .listeners = &rules.listeners,
	                              .admin_sockets = &admin_sockets,
	                              .files = &files,
	                              .network = &network,
	                              .signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
	                              .lifeline_fd = lifeline[0]};
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		children.workers.list[i].trio->pid[MEMBER_KEEPER0] = members[i] = fixture_sleeper();
	children.spawner.child.pid = spawner = fixture_sleeper();
	caretaker = fixture_fork(care);
	close(ready[1]);
	close(lifeline[0]);
	close(helper[0]);
	/* from here on it is as if the supervisor had gone */
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++) {
		int fd = children.workers.list[i].child.control.fd;

		watch_remove(&loop, &children.workers.list[i].child.control);
		close(fd);
	}
	close(children.spawner.child.control.fd);
	children.spawner.child.control.fd = -1;
	return 0;
}

static void kill_if_runs(pid_t *pid)
{
	if (*pid > 0)
		fixture_kill(*pid);
	*pid = 0;
}

static int teardown(void **state)
{
	kill_if_runs(&caretaker);
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		kill_if_runs(&members[i]);
	kill_if_runs(&spawner);
	children.spawner.child.pid = 0;
	sockets_close(&rules.listeners, NULL);
	close(setup_of.signal_fd);
	if (lifeline[1] >= 0)
		close(lifeline[1]);
	close(ready[0]);
	close(helper[1]);
	return fixture_teardown(state);
}

static bool is_ready(void)
{
	struct pollfd p = {.fd = ready[0], .events = POLLIN};

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static void adopt(uint32_t i)
{
	assert_string_equal(fixture_await(theirs[i]), "ADOPT+1");
	assert_int_equal(fixture_wire.leaves, 1);
	atomic_fetch_add(&children.workers.list[i].trio->supervisor_serial, 1);
	fixture_say(theirs[i], &(struct wire){.type = WIRE_ADOPTED});
}

static void begin(void)
{
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		adopt(i);
	UNTIL(is_ready());
}

static void say(char word)
{
	assert_int_equal(write(lifeline[1], &word, 1), 1);
}

static void hang_up(void)
{
	close(lifeline[1]);
	lifeline[1] = -1;
}

/* As a trio does that is told to. */
static void end_worker(uint32_t i)
{
	kill_if_runs(&members[i]);
	close(theirs[i]);
	theirs[i] = -1;
}

static void end_spawner(void)
{
	kill_if_runs(&spawner);
	close(spawner_theirs);
	spawner_theirs = -1;
}

static void expect_exit(void)
{
	assert_int_equal(fixture_end_of(caretaker), 0);
	caretaker = 0;
}

/* All is told to end; and it ends when all has. */
static void expect_the_end(void)
{
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++) {
		assert_string_equal(fixture_await(theirs[i]), "STOP");
		assert_int_equal(atomic_load(&children.workers.list[i].trio->stopping), 1);
	}
	assert_string_equal(fixture_await(spawner_theirs), "STOP");
	assert_true(fixture_runs(caretaker));
	end_worker(0);
	end_spawner();
	end_worker(1);
	expect_exit();
	assert_string_equal(log_text, "stopping\n");
}

static void expect_left_alone(uint32_t i)
{
	assert_string_equal(fixture_read(theirs[i]), "");
	assert_int_equal(atomic_load(&children.workers.list[i].trio->stopping), 0);
	assert_true(fixture_runs(members[i]));
}

/* Since this was called it has looked at the clock: it has read one message, and then another. */
static void let_it_look(void)
{
	for (int i = 0; i < 2; i++) {
		fixture_say(theirs[0], &(struct wire){.type = WIRE_IDLE});
		UNTIL(sock_unsent(theirs[0]) == 0);
	}
}

static void test_it_is_ready_when_all_know_it(void **state)
{
	adopt(0);
	assert_string_equal(fixture_await(theirs[1]), "ADOPT+1");
	assert_false(is_ready());
	fixture_say(theirs[1], &(struct wire){.type = WIRE_ADOPTED});
	UNTIL(is_ready());
}

static void test_one_that_does_not_answer_is_not_waited_for_long(void **state)
{
	adopt(0);
	assert_string_equal(fixture_await(theirs[1]), "ADOPT+1");
	*now_ms += 999;
	let_it_look();
	assert_false(is_ready());
	*now_ms += 1;
	UNTIL(is_ready());
}

static void test_one_that_is_dead_is_not_waited_for(void **state)
{
	end_worker(1);
	adopt(0);
	UNTIL(is_ready());
}

/* Has the caretaker this one of ours open, too? */
static bool has_open(int fd)
{
	char path[64], ours[64], its[64];
	bool has = false;
	ssize_t len;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, ours, sizeof(ours));
	assert_true(len > 0);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)caretaker);
	d = opendir(path);
	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d));)
		has |= readlinkat(dirfd(d), e->d_name, its, sizeof(its)) == len && memcmp(ours, its, (size_t)len) == 0;
	closedir(d);
	return has;
}

/* Else nobody could have their ports. */
static void test_it_listens_nowhere(void **state)
{
	begin();
	assert_true(has_open(setup_of.signal_fd));
	assert_false(has_open(rules.listeners.list[0].fd));
	assert_false(has_open(admin_sockets.list[0].fd));
}

/* It would keep what only a supervisor has. */
static void test_the_helper_for_files_ends(void **state)
{
	struct pollfd p = {.fd = helper[1], .events = POLLIN};

	begin();
	assert_int_equal(poll(&p, 1, FIXTURE_PATIENCE_MS), 1);
	assert_true(p.revents & POLLHUP);
}

static void test_a_service_that_is_stopped_ends(void **state)
{
	begin();
	hang_up();
	expect_the_end();
}

static void test_the_next_one_cannot_take_them_over(void **state)
{
	begin();
	say(WORD_END);
	expect_the_end();
}

static void test_signals(void **state)
{
	begin();
	kill(caretaker, SIGHUP);
	kill(caretaker, SIGINT);
	expect_the_end();
}

static void test_sigterm(void **state)
{
	begin();
	kill(caretaker, SIGTERM);
	expect_the_end();
}

/* From the spawner. */
static void expect_heard(const char *line)
{
	struct said m = {.wire.type = WIRE_LINE, .line.level = LOG_LEVEL_INFO};

	strcpy(m.line.text, line);
	assert_int_equal(sock_send_message(spawner_theirs, &m, SAYING_HEAD + strlen(line), NULL, 0), 0);
	UNTIL(strstr(fixture_logged(), line));
}

static void test_other_signals_do_nothing(void **state)
{
	begin();
	kill(caretaker, SIGHUP);
	/* at the second it has looked at that, too */
	for (int i = 0; i < 2; i++)
		expect_heard(i ? "a line" : "another");
	assert_true(fixture_runs(caretaker));
	say(WORD_ALONE);
	expect_exit();
}

static void test_a_start_that_has_failed_leaves_them_alone(void **state)
{
	begin();
	say(WORD_ALONE);
	expect_exit();
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		expect_left_alone(i);
	assert_string_equal(log_text, "");
}

static void test_what_the_next_one_has_is_left_alone(void **state)
{
	begin();
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		atomic_fetch_add(&children.workers.list[i].trio->supervisor_serial, 1);
	hang_up();
	expect_exit();
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		expect_left_alone(i);
	assert_string_equal(log_text, "");
}

/* Some of them; the others are ours to end. */
static void test_each_is_ended_or_left_alone(void **state)
{
	begin();
	atomic_fetch_add(&children.workers.list[0].trio->supervisor_serial, 1);
	hang_up();
	assert_string_equal(fixture_await(theirs[1]), "STOP");
	end_worker(1);
	end_spawner();
	expect_exit();
	expect_left_alone(0);
}

static void test_last_records_are_written(void **state)
{
	begin();
	fixture_write_line(0, "nobody has read this");
	hang_up();
	expect_the_end();
	assert_non_null(strstr(fixture_logged(), "nobody has read this"));
}

/* That is the right of the next one. */
static void test_it_reads_no_ring_before(void **state)
{
	begin();
	fixture_write_line(0, "for the next one");
	say(WORD_ALONE);
	expect_exit();
	assert_null(strstr(fixture_logged(), "for the next one"));
}

static void test_what_does_not_end_is_killed(void **state)
{
	begin();
	hang_up();
	assert_string_equal(fixture_await(theirs[0]), "STOP");
	assert_string_equal(fixture_await(theirs[1]), "STOP");
	let_it_look(); /* its time has begun */
	*now_ms += 2999;
	let_it_look();
	assert_true(fixture_runs(members[0]) && fixture_runs(members[1]) && fixture_runs(spawner));
	*now_ms += 1;
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		assert_int_equal(fixture_end_of(members[i]), SIGKILL);
	assert_int_equal(fixture_end_of(spawner), SIGKILL);
	members[0] = members[1] = spawner = 0;
	UNTIL((*now_ms += 300, !fixture_runs(caretaker))); /* their sockets are the test's, and stay open */
	expect_exit();
}

static void test_it_goes_on_as_the_last_reader(void **state)
{
	uint64_t one = 1;

	begin();
	fixture_write_line(1, "of one that retires");
	say(WORD_READ);
	UNTIL(strstr(fixture_logged(), "of one that retires"));
	assert_true(fixture_runs(caretaker));
	kill_if_runs(&members[0]);
	kill_if_runs(&members[1]);
	assert_int_equal(write(children.workers.list[0].wake_fd, &one, sizeof(one)), sizeof(one));
	expect_exit();
}

/* Programs of its may still run. */
static void test_a_spawner_that_ends_last_is_waited_for(void **state)
{
	begin();
	hang_up();
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++) {
		assert_string_equal(fixture_await(theirs[i]), "STOP");
		end_worker(i);
	}
	for (int i = 0; i < 2; i++)
		expect_heard(i ? "handler /x: one" : "handler /x: two");
	end_spawner();
	expect_exit();
}

static void test_a_spawner_that_ends_keeps_nobody(void **state)
{
	begin();
	end_spawner();
	hang_up();
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++) {
		assert_string_equal(fixture_await(theirs[i]), "STOP");
		end_worker(i);
	}
	expect_exit();
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(it_is_ready_when_all_know_it),
	        TEST(one_that_does_not_answer_is_not_waited_for_long),
	        TEST(one_that_is_dead_is_not_waited_for),
	        TEST(it_listens_nowhere),
	        TEST(the_helper_for_files_ends),
	        TEST(a_service_that_is_stopped_ends),
	        TEST(the_next_one_cannot_take_them_over),
	        TEST(signals),
	        TEST(sigterm),
	        TEST(other_signals_do_nothing),
	        TEST(a_start_that_has_failed_leaves_them_alone),
	        TEST(what_the_next_one_has_is_left_alone),
	        TEST(each_is_ended_or_left_alone),
	        TEST(last_records_are_written),
	        TEST(it_reads_no_ring_before),
	        TEST(what_does_not_end_is_killed),
	        TEST(it_goes_on_as_the_last_reader),
	        TEST(a_spawner_that_ends_last_is_waited_for),
	        TEST(a_spawner_that_ends_keeps_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
