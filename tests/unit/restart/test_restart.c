/* TERM from the manager: an end, or a way to the next start; and how the next start finds what was left. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../child.h"
#include "restart/caretaker.h"
#include "restart/restart.h"

/* What the processes of a test tell each other. */
static struct {
	atomic_int stops, lefts;
	atomic_int phase; /* when it was told to stop */
} * shared;

static struct restart restart;
static struct upgrade upgrade;
static int signal_fd;
static bool no_fork;

static void stop(void *arg)
{
	assert_ptr_equal(arg, &restart);
	shared->phase = phase;
	shared->stops++;
}

static void left(void *arg)
{
	shared->lefts++;
}

pid_t __wrap_fork(void);
pid_t __real_fork(void);

pid_t __wrap_fork(void)
{
	errno = EAGAIN;
	return no_fork ? -1 : __real_fork();
}

static int setup(void **state)
{
	static const struct restart_events events = {.stop = stop, .left = left};
	sigset_t set;

	fixture_setup(state);
	memset(shared, 0, sizeof(*shared));
	no_fork = false;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	upgrade = (struct upgrade){.children = &children,
	                           .files = &files,
	                           .network = &network,
	                           .admin_sockets = &admin_sockets,
	                           .guard = {.fd = -1, .lifeline_fd = -1},
	                           .rolling.workers = &children.workers};
	restart = (struct restart){.children = &children,
	                           .phase = &phase,
	                           .upgrade = &upgrade,
	                           .listeners = &rules.listeners,
	                           .signal_fd = &signal_fd,
	                           .events = &events,
	                           .arg = &restart,
	                           .inherited_fd = -1};
	return 0;
}

static int teardown(void **state)
{
	timer_clear(&loop, &upgrade.rolling.timer);
	assert_int_equal(loop.n_timers, 0);
	if (upgrade.guard.lifeline_fd >= 0)
		close(upgrade.guard.lifeline_fd);
	if (restart.inherited_fd >= 0)
		close(restart.inherited_fd);
	close(signal_fd);
	return fixture_teardown(state);
}

/* ---- the supervisor goes ---- */

/* The manager is asked to keep what it got: *lifeline, until *barrier is closed. */
static void expect_asked(int *lifeline, int *barrier)
{
	int none;

	assert_string_equal(fixture_manager_hear(&none), "STOPPING=1\nSTATUS=stopping");
	assert_string_equal(fixture_manager_hear(lifeline), "FDSTORE=1\nFDNAME=lifeline\nFDPOLL=0");
	assert_string_equal(fixture_manager_hear(barrier), "BARRIER=1");
	assert_true(*lifeline >= 0 && *barrier >= 0);
}

static void begin(int *lifeline, int *barrier)
{
	fixture_manager_begin();
	restart_begin(&restart);
	expect_asked(lifeline, barrier);
	assert_int_equal(phase, PHASE_LEAVING);
	assert_int_equal(shared->stops, 0);
}

static void test_where_there_is_no_manager_it_is_a_stop(void **state)
{
	restart_begin(&restart);
	assert_int_equal(shared->stops, 1);
	assert_int_equal(shared->phase, PHASE_LEAVING);
}

static void test_who_does_not_serve_yet_or_any_more_stops(void **state)
{
	fixture_manager_begin();
	for (phase = 0; phase < PHASES; phase++) {
		if (phase == PHASE_SERVING)
			continue;
		shared->stops = 0;
		restart_begin(&restart);
		assert_int_equal(shared->stops, 1);
	}
	assert_true(fixture_manager_has_heard_all());
}

static void test_a_manager_that_keeps_nothing(void **state)
{
	int lifeline, barrier;

	begin(&lifeline, &barrier);
	close(lifeline);
	close(barrier);
	UNTIL(shared->stops);
	fixture_pass(5000);
	assert_int_equal(shared->stops, 1);
	assert_int_equal(restart.barrier.fd, -1);
}

static void test_a_manager_that_does_not_answer(void **state)
{
	int lifeline, barrier, none;

	begin(&lifeline, &barrier);
	fixture_pass(1199);
	assert_int_equal(shared->stops, 0);
	fixture_pass(1);
	assert_int_equal(shared->stops, 1);
	assert_string_equal(fixture_manager_hear(&none), "FDSTOREREMOVE=1\nFDNAME=lifeline");
	close(lifeline);
	close(barrier);
	fixture_pass(5000);
	assert_int_equal(shared->stops, 1);
}

static void test_one_that_is_told_to_stop_meanwhile(void **state)
{
	int lifeline, barrier;

	begin(&lifeline, &barrier);
	restart_begin(&restart); /* once more */
	assert_int_equal(shared->stops, 1);
	phase = PHASE_STOPPING;
	close(barrier);
	close(lifeline);
	UNTIL(restart.barrier.fd < 0);
	assert_int_equal(shared->stops, 1);
}

static void test_where_there_is_no_caretaker_it_is_a_stop(void **state)
{
	int lifeline, barrier;

	begin(&lifeline, &barrier);
	no_fork = true;
	close(barrier);
	UNTIL(shared->stops);
	assert_non_null(strstr(log_text, "cannot leave the workers alone: Resource temporarily unavailable"));
	assert_int_equal(shared->lefts, 0);
	close(lifeline);
}

static int guards[2]; /* the pipe by which a guard is told */

/* In a process of its own: it ends. */
static void leave(void)
{
	upgrade.guard.fd = guards[1];
	restart_begin(&restart);
	for (;;)
		loop_turn(&loop, 100);
}

static void adopt_all(void)
{
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++) {
		assert_string_equal(fixture_await(theirs[i]), "ADOPT+1");
		assert_int_equal(fixture_wire.leaves, 1);
	}
	assert_int_equal(shared->lefts, 0); /* not before they know the caretaker */
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		fixture_say(theirs[i], &(struct wire){.type = WIRE_ADOPTED});
}

static void test_a_manager_that_keeps_it(void **state)
{
	int lifeline, barrier;
	pid_t supervisor;
	char word;

	fixture_manager_begin();
	assert_int_equal(pipe2(guards, O_CLOEXEC), 0);
	fixture_write_line(0, "the last that it reads");
	supervisor = fixture_fork(leave);
	close(guards[1]);
	expect_asked(&lifeline, &barrier);
	close(barrier);
	adopt_all();
	assert_int_equal(fixture_end_of(supervisor), 0);
	assert_int_equal(shared->lefts, 1);
	assert_int_equal(shared->stops, 0);
	assert_non_null(strstr(fixture_logged(), "the last that it reads"));
	assert_non_null(strstr(log_text, "leaving: the workers and their connections wait for what systemd does"));
	assert_int_equal(read(guards[0], &word, 1), 1); /* a guard that is still there may go */
	close(guards[0]);
	/* the caretaker has its end of the lifeline */
	assert_int_equal(write(lifeline, (const char[]){WORD_ALONE}, 1), 1);
	close(lifeline);
}

/* The program before us is the main process, and has put our lifeline into the store: a byte says so. */
static int stored[2];

static void leave_by_the_guards(void)
{
	upgrade.guard.lifeline_fd = stored[0];
	EXPECT(write(stored[1], "", 1) == 1);
	close(stored[1]);
	restart_begin(&restart);
	_exit(3);
}

static void test_a_guard_that_has_asked_already(void **state)
{
	pid_t supervisor;

	fixture_manager_begin();
	assert_int_equal(pipe2(stored, O_CLOEXEC | O_NONBLOCK), 0);
	supervisor = fixture_fork(leave_by_the_guards);
	close(stored[0]);
	adopt_all();
	assert_int_equal(fixture_end_of(supervisor), 0);
	assert_int_equal(shared->lefts, 1);
	assert_true(fixture_manager_has_heard_all());
	assert_int_equal(write(stored[1], (const char[]){WORD_ALONE}, 1), 1);
	close(stored[1]);
}

static void test_a_guard_that_has_not(void **state)
{
	int ends[2], lifeline, barrier;

	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	upgrade.guard.lifeline_fd = ends[0];
	begin(&lifeline, &barrier);
	close(ends[1]);
	close(lifeline);
	close(barrier);
	UNTIL(shared->stops);
}

/* ---- the next start ---- */

static int others; /* the caretaker's end of the lifeline that was inherited */

static void inherit(void)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	others = ends[0];
	restart.inherited_fd = ends[1];
}

static char told(void)
{
	char word = 0;

	return read(others, &word, 1) == 1 ? word : 0;
}

static void test_who_is_started_afresh_has_nothing_to_say(void **state)
{
	fixture_manager_begin();
	restart_finish(&restart);
	assert_false(restart_end_others(&restart, "x"));
	assert_false(restart_leave_reader(&restart));
	restart_failed(-1);
	assert_true(fixture_manager_has_heard_all());
	assert_string_equal(log_text, "");
	assert_int_equal(restart_inherit(), -1);
}

static void expect_cut(void)
{
	int none;

	assert_string_equal(fixture_manager_hear(&none), "FDSTOREREMOVE=1\nFDNAME=lifeline");
	assert_int_equal(restart.inherited_fd, -1);
	assert_int_equal(told(), 0);
	assert_int_equal(read(others, (char[1]){0}, 1), 0);
	close(others);
}

static void test_where_there_were_none_the_caretaker_may_go(void **state)
{
	fixture_manager_begin();
	inherit();
	restart_finish(&restart);
	expect_cut();
	assert_false(children.workers.rolling);
}

/* For the libraries' sake, too. */
static void test_trios_that_were_taken_over_become_this_program(void **state)
{
	fixture_manager_begin();
	inherit();
	children.workers.orphans.n = FIXTURE_WORKERS;
	restart_finish(&restart);
	expect_cut();
	assert_true(children.workers.rolling);
	assert_string_equal(fixture_read(theirs[0]), "REEXEC+1");
	restart_finish(&restart); /* once */
	assert_string_equal(fixture_read(theirs[0]), "");
}

static void test_the_caretaker_becomes_the_last_reader(void **state)
{
	inherit();
	assert_true(restart_leave_reader(&restart));
	assert_int_equal(told(), WORD_READ);
	close(others);
	assert_false(restart_leave_reader(&restart)); /* it is gone */
}

static void test_a_start_that_has_failed(void **state)
{
	inherit();
	restart_failed(restart.inherited_fd);
	assert_int_equal(told(), WORD_ALONE);
	assert_non_null(strstr(log_text, "the workers of before go on without a supervisor"));
	*log_text = '\0';
	close(others);
	restart_failed(restart.inherited_fd); /* nobody is left to be told */
	assert_string_equal(log_text, "");
}

static void obey(void)
{
	struct pollfd p = {.fd = others, .events = POLLIN};

	close(restart.inherited_fd);
	poll(&p, 1, FIXTURE_PATIENCE_MS);
	shared->lefts++;
	_exit(told());
}

static void test_those_that_cannot_be_taken_over_are_ended(void **state)
{
	pid_t caretaker;
	int none;

	fixture_manager_begin();
	inherit();
	caretaker = fixture_fork(obey);
	close(others);
	assert_true(restart_end_others(&restart, "are strange"));
	assert_int_equal(shared->lefts, 1); /* it was waited for */
	assert_int_equal(WEXITSTATUS(fixture_end_of(caretaker)), WORD_END);
	assert_string_equal(fixture_manager_hear(&none), "FDSTOREREMOVE=1\nFDNAME=lifeline");
	assert_int_equal(restart.inherited_fd, -1);
	assert_string_equal(log_text, "the workers of before are strange: they are ended, and their connections with "
	                              "them\n");
}

static void test_where_nobody_can_end_them_nothing_changes(void **state)
{
	inherit();
	close(others);
	assert_false(restart_end_others(&restart, "are strange"));
	assert_true(restart.inherited_fd >= 0);
	assert_string_equal(log_text, "");
}

/* It is stopped, say. */
static void hold(void)
{
	close(restart.inherited_fd);
	for (;;) {
		*now_ms += 2500;
		poll(NULL, 0, 5);
	}
}

static void test_a_caretaker_that_does_not_end_is_not_waited_for_long(void **state)
{
	pid_t caretaker;

	inherit();
	caretaker = fixture_fork(hold);
	assert_true(restart_end_others(&restart, "are strange"));
	assert_int_equal(told(), WORD_END);
	close(others);
	fixture_kill(caretaker);
}

/* As the manager passes it. */
static void take_from_the_store(void)
{
	int ends[2], fd;
	char pid[16];

	EXPECT(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[1], 3) == 3);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_FDNAMES", LIFELINE, 1);
	fd = restart_inherit();
	EXPECT(fd > 3 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	setenv("LISTEN_FDNAMES", "another", 1);
	EXPECT(restart_inherit() == -1);
}

static void test_what_the_manager_has_kept(void **state)
{
	in_child(take_from_the_store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(where_there_is_no_manager_it_is_a_stop),
	        TEST(who_does_not_serve_yet_or_any_more_stops),
	        TEST(a_manager_that_keeps_nothing),
	        TEST(a_manager_that_does_not_answer),
	        TEST(one_that_is_told_to_stop_meanwhile),
	        TEST(where_there_is_no_caretaker_it_is_a_stop),
	        TEST(a_manager_that_keeps_it),
	        TEST(a_guard_that_has_asked_already),
	        TEST(a_guard_that_has_not),
	        TEST(who_is_started_afresh_has_nothing_to_say),
	        TEST(where_there_were_none_the_caretaker_may_go),
	        TEST(trios_that_were_taken_over_become_this_program),
	        TEST(the_caretaker_becomes_the_last_reader),
	        TEST(a_start_that_has_failed),
	        TEST(those_that_cannot_be_taken_over_are_ended),
	        TEST(where_nobody_can_end_them_nothing_changes),
	        TEST(a_caretaker_that_does_not_end_is_not_waited_for_long),
	        TEST(what_the_manager_has_kept),
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
