/* A line of the log: bounded, one line, errno kept, and written at once to where it belongs. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"

static char last[4096];
static enum log_level last_level;

static void remember(void *arg, enum log_level level, const char *line)
{
	assert_ptr_equal(arg, last);
	last_level = level;
	snprintf(last, sizeof(last), "%s", line);
	errno = EIO; /* whatever a sink does to it */
}

static int with_sink(void **state)
{
	log_set_sink(remember, last);
	return 0;
}

static void test_levels(void **state)
{
	log_error("no route to %s:%d", "db", 25);
	assert_string_equal(last, "no route to db:25");
	assert_int_equal(last_level, LOG_LEVEL_ERROR);
	log_warning("w");
	assert_int_equal(last_level, LOG_LEVEL_WARNING);
	log_info("i");
	assert_int_equal(last_level, LOG_LEVEL_INFO);
	assert_string_equal(log_level_name(LOG_LEVEL_WARNING), "warning");
	assert_string_equal(log_level_name((enum log_level)77), "error");
}

static void test_control_characters_are_replaced(void **state)
{
	log_error("a\nb\tc\033[2Jd\177e \303\244");
	assert_string_equal(last, "a?b?c?[2Jd?e \303\244");
	log_error("a\302\2332Jb\302\205c\342\200\250d\342\200\251e\377f\233g \342\202\254");
	assert_string_equal(last, "a?2Jb?c?d?e?f?g \342\202\254");
}

static void test_long_lines_are_cut_between_characters(void **state)
{
	static char text[5001];

	for (int shift = 0; shift < 2; shift++) {
		memset(text, 'x', sizeof(text) - 1);
		for (size_t i = (size_t)shift; i + 2 < sizeof(text); i += 2)
			memcpy(text + i, "\303\244", 2);
		log_error("%s", text);
		assert_in_range(strlen(last), 2040, 2047);
		assert_string_equal(last + strlen(last) - 5, "\303\244...");
	}
}

static void test_errno_survives(void **state)
{
	errno = ENOENT;
	log_error("line");
	assert_int_equal(errno, ENOENT);
}

static void test_without_a_sink_stderr(void **state)
{
	char text[64] = "";
	int saved = dup(2), pipe_fds[2];

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	log_set_sink(NULL, NULL);
	dup2(pipe_fds[1], 2);
	log_error("%s", "out of order");
	dup2(saved, 2);
	close(saved);
	close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], text, sizeof(text) - 1), 23);
	close(pipe_fds[0]);
	assert_string_equal(text, "tcpproxy: out of order\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_levels, with_sink),
	        cmocka_unit_test_setup(test_control_characters_are_replaced, with_sink),
	        cmocka_unit_test_setup(test_long_lines_are_cut_between_characters, with_sink),
	        cmocka_unit_test_setup(test_errno_survives, with_sink),
	        cmocka_unit_test(test_without_a_sink_stderr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
