/* Phases of the supervisor: which can follow which, and what may be asked in each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "children/phase.h"

/* As drawn in docs/supervisor-states.md. */
static void test_no_way_leads_back(void **state)
{
	for (int from = 0; from < PHASES; from++)
		for (int to = 0; to <= from; to++)
			assert_false(phase_may_follow(from, to));
}

static void test_every_phase_can_be_stopped(void **state)
{
	for (int from = 0; from < PHASE_STOPPING; from++)
		assert_true(phase_may_follow(from, PHASE_STOPPING));
}

static void test_only_who_serves_drains_or_leaves(void **state)
{
	for (int from = 0; from < PHASES; from++) {
		assert_int_equal(phase_may_follow(from, PHASE_DRAINING), from == PHASE_SERVING);
		assert_int_equal(phase_may_follow(from, PHASE_LEAVING), from == PHASE_SERVING);
	}
}

static void test_who_serves_refuses_nothing(void **state)
{
	for (int r = 0; r < REQUESTS; r++)
		assert_null(phase_refuses(PHASE_SERVING, r));
}

static void test_what_would_open_or_start_something_is_refused_at_the_end(void **state)
{
	for (int p = PHASE_DRAINING; p < PHASES; p++) {
		assert_non_null(phase_refuses(p, REQUEST_RELOAD));
		assert_non_null(phase_refuses(p, REQUEST_UPGRADE));
		assert_non_null(phase_refuses(p, REQUEST_DRAIN));
	}
}

/* However far it is, it can be ended sooner. */
static void test_an_end_may_be_asked_for_until_it_comes(void **state)
{
	for (int p = 0; p < PHASE_STOPPING; p++) {
		assert_null(phase_refuses(p, REQUEST_STOP));
		assert_null(phase_refuses(p, REQUEST_LEAVE));
	}
}

static void test_names(void **state)
{
	for (int p = 0; p < PHASES; p++)
		for (int q = 0; q < p; q++)
			assert_string_not_equal(phase_name(p), phase_name(q));
}

/* The table of docs/supervisor-states.md, cell by cell: - is refused. */
static void test_each_request_in_each_phase(void **state)
{
	static const char *const table[PHASES] = {
	        /* RELOAD UPGRADE DRAIN LEAVE STOP */
	        [PHASE_STARTING] = "+-+++", [PHASE_SERVING] = "+++++",  [PHASE_DRAINING] = "---++",
	        [PHASE_LEAVING] = "---++",  [PHASE_STOPPING] = "-----",
	};

	for (int p = 0; p < PHASES; p++)
		for (int r = 0; r < REQUESTS; r++)
			assert_int_equal(phase_refuses(p, r) != NULL, table[p][r] == '-');
}

static void test_each_phase_behind_each(void **state)
{
	static const char *const table[PHASES] = {
	        /* STARTING SERVING DRAINING LEAVING STOPPING */
	        [PHASE_STARTING] = "-+--+", [PHASE_SERVING] = "--+++",  [PHASE_DRAINING] = "----+",
	        [PHASE_LEAVING] = "----+",  [PHASE_STOPPING] = "-----",
	};

	for (int from = 0; from < PHASES; from++)
		for (int to = 0; to < PHASES; to++)
			assert_int_equal(phase_may_follow(from, to), table[from][to] == '+');
}

static void test_only_until_the_end_begins_it_serves(void **state)
{
	for (int p = 0; p < PHASES; p++)
		assert_int_equal(phase_serves(p), p == PHASE_STARTING || p == PHASE_SERVING);
}

static char line[200];
static int lines;

static void take_line(void *arg, enum log_level level, const char *text)
{
	lines++;
	assert_int_equal(level, LOG_LEVEL_WARNING);
	strncpy(line, text, sizeof(line) - 1);
}

static void test_what_is_refused_is_logged_with_the_reason(void **state)
{
	lines = 0;
	log_set_sink(take_line, NULL);
	assert_null(phase_ask(PHASE_SERVING, REQUEST_RELOAD, "reload"));
	assert_int_equal(lines, 0);
	assert_string_equal(phase_ask(PHASE_STOPPING, REQUEST_RELOAD, "reload"), "it is stopping");
	assert_int_equal(lines, 1);
	assert_string_equal(line, "reload: it is stopping");
	log_set_sink(NULL, NULL);
}

/* It is changed, or the process aborts. */
static void test_a_way_that_is_not_drawn_is_not_gone(void **state)
{
	for (int from = 0; from < PHASES; from++)
		for (int to = 0; to < PHASES; to++) {
			int status;
			pid_t pid = fork();

			if (pid == 0) {
				enum phase p = from;

				setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
				close(STDERR_FILENO);
				signal(SIGABRT, SIG_DFL);
				phase_set(&p, to);
				_exit((int)p == to ? 0 : 1);
			}
			assert_int_equal(waitpid(pid, &status, 0), pid);
			if (phase_may_follow(from, to))
				assert_int_equal(status, 0);
			else
				assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_no_way_leads_back),
	        cmocka_unit_test(test_every_phase_can_be_stopped),
	        cmocka_unit_test(test_only_who_serves_drains_or_leaves),
	        cmocka_unit_test(test_who_serves_refuses_nothing),
	        cmocka_unit_test(test_what_would_open_or_start_something_is_refused_at_the_end),
	        cmocka_unit_test(test_an_end_may_be_asked_for_until_it_comes),
	        cmocka_unit_test(test_names),
	        cmocka_unit_test(test_each_request_in_each_phase),
	        cmocka_unit_test(test_each_phase_behind_each),
	        cmocka_unit_test(test_only_until_the_end_begins_it_serves),
	        cmocka_unit_test(test_what_is_refused_is_logged_with_the_reason),
	        cmocka_unit_test(test_a_way_that_is_not_drawn_is_not_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
