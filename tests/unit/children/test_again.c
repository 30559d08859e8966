/* What cannot be started now is tried again, and the log is told once. */
#include "fixture.h"

#include <errno.h>
#include "children/again.h"

#define PAUSE_MS 500

static struct again again;
static int tries, result;

static int start(void *arg)
{
	assert_ptr_equal(arg, &again);
	tries++;
	return result;
}

static int setup(void **state)
{
	fixture_begin();
	tries = result = 0;
	again_init(&again, &loop, start, &again, "the %s", "child");
	return 0;
}

static int teardown(void **state)
{
	again_cancel(&again);
	assert_int_equal(loop.n_timers, 0);
	fixture_end();
	return 0;
}

static void test_one_that_can_be_started_is_and_nothing_is_said(void **state)
{
	again_start(&again);
	assert_int_equal(tries, 1);
	assert_false(again_is_pending(&again));
	pass(100 * PAUSE_MS);
	assert_int_equal(tries, 1);
	assert_int_equal(logged(""), 0);
}

static void test_one_that_cannot_is_tried_again_with_pauses(void **state)
{
	result = -EAGAIN;
	again_start(&again);
	for (int i = 1; i < 6; i++) {
		assert_int_equal(tries, i);
		assert_true(again_is_pending(&again));
		pass(PAUSE_MS - 1);
		assert_int_equal(tries, i);
		pass(1);
	}
	result = 0;
	pass(PAUSE_MS);
	assert_int_equal(tries, 7);
	assert_false(again_is_pending(&again));
	pass(100 * PAUSE_MS);
	assert_int_equal(tries, 7);
}

static void test_the_log_is_told_once_and_once_more_when_it_is_over(void **state)
{
	for (int round = 1; round < 3; round++) {
		result = -EMFILE;
		again_start(&again);
		pass(PAUSE_MS);
		pass(PAUSE_MS);
		assert_int_equal(logged("the child cannot be started: Too many open files (ulimit -n"), round);
		assert_int_equal(logged("is started now"), round - 1);
		result = 0;
		pass(PAUSE_MS);
		assert_int_equal(logged("the child is started now, at try 4"), round);
	}
	assert_int_equal(logged(""), 4);
}

static void test_what_can_be_done_about_it_is_said(void **state)
{
	static const struct {
		int error;
		const char *text;
	} all[] = {
	        {EAGAIN, "pids.max"}, {EMFILE, "ulimit -n"}, {ENFILE, "fs.file-max"}, {ENOMEM, "memory: it is tried"}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		result = -all[i].error;
		again_start(&again);
		assert_int_equal(logged(all[i].text), 1);
		again_cancel(&again);
	}
}

static void test_it_is_given_up_when_it_is_told(void **state)
{
	result = -ENOMEM;
	again_start(&again);
	again_cancel(&again);
	assert_false(again_is_pending(&again));
	pass(100 * PAUSE_MS);
	assert_int_equal(tries, 1);
	result = 0; /* what was before is forgotten */
	again_start(&again);
	assert_int_equal(logged("is started now"), 0);
}

static void test_one_that_was_never_begun_can_be_given_up(void **state)
{
	struct again none = {0};

	again_cancel(&none);
	assert_false(again_is_pending(&none));
}

static void test_it_is_not_tried_twice_for_two_who_want_it(void **state)
{
	result = -EAGAIN;
	again_start(&again);
	pass(PAUSE_MS / 2);
	result = 0;
	again_start(&again);
	assert_int_equal(tries, 2);
	pass(10 * PAUSE_MS);
	assert_int_equal(tries, 2);
}

static void test_at_a_time(void **state)
{
	again_start_at(&again, now_ms + 300);
	assert_true(again_is_pending(&again));
	pass(299);
	assert_int_equal(tries, 0);
	pass(1);
	assert_int_equal(tries, 1);
	assert_false(again_is_pending(&again));
}

static void test_at_a_time_that_is_over_it_is_now(void **state)
{
	again_start_at(&again, now_ms);
	assert_int_equal(tries, 1);
	again_start_at(&again, now_ms - 1000);
	assert_int_equal(tries, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(one_that_can_be_started_is_and_nothing_is_said),
	        TEST(one_that_cannot_is_tried_again_with_pauses),
	        TEST(the_log_is_told_once_and_once_more_when_it_is_over),
	        TEST(what_can_be_done_about_it_is_said),
	        TEST(it_is_given_up_when_it_is_told),
	        TEST(one_that_was_never_begun_can_be_given_up),
	        TEST(it_is_not_tried_twice_for_two_who_want_it),
	        TEST(at_a_time),
	        TEST(at_a_time_that_is_over_it_is_now),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
