/* Who is to go first when there is no memory left. Scores above 0, which anybody may have, and come down from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "os/oom.h"

static int score(void)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "re");
	int n = -1;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &n), 1);
	fclose(f);
	return n;
}

static void set_score(int n)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "we");

	assert_non_null(f);
	fprintf(f, "%d\n", n);
	fclose(f);
}

/* Of a child that was forked like this. */
static int score_of(pid_t pid)
{
	int status;

	if (pid == 0) {
		pid_t grandchild = oom_fork(); /* it must not touch its parent's */

		if (grandchild == 0)
			_exit(0);
		waitpid(grandchild, NULL, 0);
		_exit(score() / 10);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status) * 10;
}

static void test_children_are_as_we_were(void **state)
{
	set_score(700);
	assert_int_equal(score_of(oom_fork()), 700); /* nothing is protected yet */
	oom_protect(500);
	assert_int_equal(score(), 200);
	assert_int_equal(score_of(fork()), 200);
	assert_int_equal(score_of(oom_fork()), 700);
	assert_int_equal(score(), 200);
}

static void test_the_next_program_goes_on_with_it(void **state)
{
	oom_keep_over_exec(true);
	assert_non_null(getenv("TCPPROXY_OOM"));
	oom_inherit();
	assert_null(getenv("TCPPROXY_OOM"));
	assert_int_equal(score_of(oom_fork()), 700);
	assert_int_equal(score(), 200);
}

static void test_a_variable_that_lies_is_nothing(void **state)
{
	setenv("TCPPROXY_OOM", "4711 0 0", 1);
	oom_inherit();
	assert_int_equal(score_of(oom_fork()), 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_children_are_as_we_were),
	        cmocka_unit_test(test_the_next_program_goes_on_with_it),
	        cmocka_unit_test(test_a_variable_that_lies_is_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
