/* What agents say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "checker/agent.h"

static struct agent_view v;
static struct health health;

static int setup(void **state)
{
	v = AGENT_SILENT;
	memset(&health, 0, sizeof(health));
	health_begin(&health, 7);
	return 0;
}

static void words_mean_what_they_mean_elsewhere(void **state)
{
	assert_true(agent_hears(&v, "down"));
	assert_true(v.down && !v.drain && !v.maint);
	assert_true(agent_hears(&v, "up"));
	assert_false(v.down);
	assert_true(agent_hears(&v, "Fail"));
	assert_true(v.down);
	assert_true(agent_hears(&v, "up\n"));
	assert_true(agent_hears(&v, "stopped"));
	assert_true(v.down);
	assert_true(agent_hears(&v, "drain"));
	assert_true(agent_hears(&v, "maint"));
	assert_true(v.drain && v.maint && v.down);
	assert_true(agent_hears(&v, "ready"));
	assert_true(!v.drain && !v.maint && v.down);
}

static void what_it_does_not_say_stays(void **state)
{
	assert_true(agent_hears(&v, "weight:30% maxconn:7 drain"));
	assert_true(agent_hears(&v, "down"));
	assert_true(v.drain && v.down && v.in_percent);
	assert_int_equal(v.weight, 30);
	assert_int_equal(v.max, 7);
	assert_true(agent_hears(&v, "up"));
	assert_int_equal(v.weight, 30);
}

static void numbers(void **state)
{
	assert_true(agent_hears(&v, "75%"));
	assert_true(v.in_percent && v.weight == 75);
	assert_true(agent_hears(&v, "weight:5"));
	assert_true(!v.in_percent && v.weight == 5);
	assert_true(agent_hears(&v, "weight:0%"));
	assert_true(v.in_percent && v.weight == 0);
	assert_true(agent_hears(&v, "maxconn:0"));
	assert_int_equal(v.max, 0);
	assert_false(agent_hears(&v, "50"));
	assert_false(agent_hears(&v, "-1% weight:x weight: maxconn:9% maxconn: 99999999% size:3 :% %"));
	assert_int_equal(v.weight, 0);
	assert_int_equal(v.max, 0);
}

/* In any order: what takes back comes first, so that bad news stay. */
static void the_order_means_nothing(void **state)
{
	assert_true(agent_hears(&v, "drain ready"));
	assert_true(v.drain);
	assert_true(agent_hears(&v, "ready drain"));
	assert_true(v.drain);
	assert_true(agent_hears(&v, "down,up"));
	assert_true(v.down);
}

static void a_comment_ends_it(void **state)
{
	assert_true(agent_hears(&v, "up # down maint"));
	assert_true(!v.down && !v.maint);
	assert_false(agent_hears(&v, "# down"));
	assert_false(agent_hears(&v, ""));
	assert_false(agent_hears(&v, "uptime 3 days"));
	assert_true(agent_hears(&v, "nonsense, maint"));
	assert_true(v.maint);
}

static void a_line_without_end(void **state)
{
	char line[5000];

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	assert_false(agent_hears(&v, line));
	memcpy(line, "down ", 5);
	assert_true(agent_hears(&v, line));
	assert_true(v.down);
}

static void it_stands_in_one_word(void **state)
{
	static const struct agent_view said[] = {
	        {.weight = -1, .max = -1},
	        {.down = true, .weight = 0, .max = 0},
	        {.drain = true, .in_percent = true, .weight = AGENT_WEIGHT_MAX, .max = INT32_MAX},
	        {.maint = true, .weight = -1, .max = 1},
	};

	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		struct agent_view got;

		agent_set(&health, &said[i]);
		got = agent_read(&health, 7);
		assert_int_equal(got.down, said[i].down);
		assert_int_equal(got.drain, said[i].drain);
		assert_int_equal(got.maint, said[i].maint);
		assert_int_equal(got.in_percent, said[i].in_percent);
		assert_int_equal(got.weight, said[i].weight);
		assert_int_equal(got.max, said[i].max);
		assert_false(agent_read(&health, 8).down); /* another seat's */
		assert_false(agent_read(&health, 8).drain);
	}
	health_begin(&health, 9);
	assert_int_equal(health.agent, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, setup)
	        TEST(words_mean_what_they_mean_elsewhere),
	        TEST(what_it_does_not_say_stays),
	        TEST(numbers),
	        TEST(the_order_means_nothing),
	        TEST(a_comment_ends_it),
	        TEST(a_line_without_end),
	        TEST(it_stands_in_one_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
