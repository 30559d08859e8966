/* Descriptors that the spawner sends: only pipes are kept, and nobody can make their reader wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "children/stderrs.h"
#include "os/sock.h"

static struct loop loop;
static struct stderrs *stderrs;
static char said[200];

static void take_line(void *arg, enum log_level level, const char *line)
{
	snprintf(said, sizeof(said), "%s", line);
}

static int setup(void **state)
{
	log_set_sink(take_line, NULL);
	*said = '\0';
	assert_int_equal(loop_init(&loop, -1, NULL, 8), 0);
	stderrs = stderrs_new(&loop);
	return 0;
}

static int teardown(void **state)
{
	free(stderrs);
	loop_release(&loop);
	return 0;
}

static void turn(void)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_turn(&loop, 0), 0);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void a_pipe_is_read_once_the_spawner_is_dead(void **state)
{
	int ends[2], theirs;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	theirs = dup(ends[0]); /* the spawner's; it does wait there */
	stderrs_keep(stderrs, ends[0], "handler /x");
	assert_int_equal(write(ends[1], "one\ntwo", 7), 7);
	turn();
	assert_string_equal(said, "");
	stderrs_read(stderrs);
	turn();
	assert_string_equal(said, "handler /x: one");
	assert_false(fcntl(theirs, F_GETFL) & O_NONBLOCK);
	assert_int_equal(loop_turn(&loop, 0), 0); /* nothing is there: nobody waits */
	close(ends[1]);
	turn();
	assert_string_equal(said, "handler /x: two");
	close(theirs);
}

static void what_is_no_pipe_is_closed(void **state)
{
	int pair[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(sock_message_pair(pair), 0);
	stderrs_keep(stderrs, null, "null");
	stderrs_keep(stderrs, pair[0], "socket");
	assert_false(is_open(null));
	assert_false(is_open(pair[0]));
	stderrs_read(stderrs);
	turn();
	assert_string_equal(said, "");
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_pipe_is_read_once_the_spawner_is_dead, setup, teardown),
	        cmocka_unit_test_setup_teardown(what_is_no_pipe_is_closed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
