/* What processes of ours write to stderr. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "children/lastwords.h"

static struct lastwords words;
static int end;

static int setup(void **state)
{
	fixture_begin();
	memset(&words, 0, sizeof(words));
	end = lastwords_open(&words, &loop, "worker %d", 3);
	assert_true(end >= 0);
	return 0;
}

static int teardown(void **state)
{
	lastwords_close(&words);
	close(end);
	fixture_end();
	return 0;
}

static void put(const char *text)
{
	assert_int_equal(write(end, text, strlen(text)), strlen(text));
}

static void test_each_line_is_an_error_of_whose_it_is(void **state)
{
	put("one\ntwo\n");
	turn();
	assert_int_equal(logged("worker 3: one"), 1);
	assert_int_equal(logged("worker 3: two"), 1);
}

static void test_it_is_heard_before_the_loop_comes_to_it(void **state)
{
	put("abort\nunfinished");
	lastwords_hear(&words);
	assert_int_equal(logged("worker 3: abort"), 1);
	assert_int_equal(logged("unfinished"), 0);
	lastwords_hear(&words); /* nothing is there: nobody waits */
	lastwords_close(&words);
	assert_int_equal(logged("worker 3: unfinished"), 1);
}

static void test_the_next_process_has_another_pipe(void **state)
{
	int next;

	put("the first\nits rest");
	next = lastwords_open(&words, &loop, "worker %d", 4);
	assert_true(next >= 0);
	assert_int_equal(logged("worker 3: the first"), 1);
	assert_int_equal(logged("worker 3: its rest"), 1);
	assert_int_equal(write(end, "x", 1), -1); /* nobody reads it any more */
	assert_int_equal(errno, EPIPE);
	close(end);
	end = next;
	put("the second\n");
	turn();
	assert_int_equal(logged("worker 4: the second"), 1);
}

static void test_who_writes_waits_for_nobody(void **state)
{
	static const char much[4096];
	ssize_t n;

	assert_true(fcntl(end, F_GETFD) & FD_CLOEXEC);
	do
		n = write(end, much, sizeof(much));
	while (n > 0);
	assert_int_equal(n, -1);
	assert_int_equal(errno, EAGAIN);
}

static void test_it_is_over_when_nobody_can_write_any_more(void **state)
{
	unsigned fds = fds_open();

	put("goodbye");
	close(end);
	turn();
	assert_int_equal(logged("worker 3: goodbye"), 1);
	assert_int_equal(fds_open(), fds - 2);
	lastwords_hear(&words);
	end = lastwords_open(&words, &loop, "worker 3");
	assert_true(end >= 0);
}

static void test_one_that_was_never_begun_can_be_heard_and_closed(void **state)
{
	struct lastwords none = {.who = ""};

	lastwords_hear(&none);
	lastwords_close(&none);
	assert_int_equal(logged(""), 0);
}

static void test_where_a_descriptor_is_missing_there_is_none(void **state)
{
	struct lastwords other = {.who = ""};

	for (int room = 0; room < 2; room++) {
		leave_room(room);
		assert_int_equal(lastwords_open(&other, &loop, "other"), -EMFILE);
		leave_room(-1);
	}
	lastwords_close(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(each_line_is_an_error_of_whose_it_is),
	        TEST(it_is_heard_before_the_loop_comes_to_it),
	        TEST(the_next_process_has_another_pipe),
	        TEST(who_writes_waits_for_nobody),
	        TEST(it_is_over_when_nobody_can_write_any_more),
	        TEST(one_that_was_never_begun_can_be_heard_and_closed),
	        TEST(where_a_descriptor_is_missing_there_is_none),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
