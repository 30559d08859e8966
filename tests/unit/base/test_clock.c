/* Times are written in local time, with the offset in force at that time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "base/clock.h"

#define SEP_3_2026 1788437109123456LL /* 2026-09-03T12:05:09.123456Z */

static void expect(const char *zone, int64_t wall_us, const char *text)
{
	char buf[CLOCK_TEXT_MAX];

	setenv("TZ", zone, 1);
	tzset();
	assert_string_equal(clock_format(wall_us, buf), text);
}

static void test_zones(void **state)
{
	expect("UTC0", SEP_3_2026, "2026-09-03T12:05:09.123+00:00");
	expect("CEST-2", SEP_3_2026, "2026-09-03T14:05:09.123+02:00");
	expect("NST3:30", SEP_3_2026, "2026-09-03T08:35:09.123-03:30");
	expect("IST-5:30", SEP_3_2026, "2026-09-03T17:35:09.123+05:30");
}

static void test_edges(void **state)
{
	expect("UTC0", 0, "1970-01-01T00:00:00.000+00:00");
	expect("UTC0", -1, "1969-12-31T23:59:59.999+00:00");
	expect("UTC0", 999999, "1970-01-01T00:00:00.999+00:00");
	expect("UTC0", INT64_MAX, "294247-01-10T04:00:54.775+00:00");
	expect("UTC0", INT64_MIN, "-290308-12-21T19:59:05.224+00:00");
}

static void test_clocks_agree(void **state)
{
	int64_t ms = clock_mono_ms(), us = clock_mono_us();

	assert_in_range(us / 1000 - ms, 0, 10000);
	assert_true(clock_mono_us() >= us);
	assert_in_range(clock_wall_us() / 1000000 - time(NULL) + 1, 0, 2);
}

static void test_spans(void **state)
{
	assert_true(clock_span(3, 10) == 7 && clock_span(10, 3) == -7);
	assert_true(clock_span(INT64_MIN, INT64_MAX) == INT64_MAX);
	assert_true(clock_span(INT64_MAX, INT64_MIN) == INT64_MIN);
	assert_true(clock_span(INT64_MIN, -1) == INT64_MAX);
	assert_true(clock_ms_as_us(-3) == -3000);
	assert_true(clock_ms_as_us(INT64_MAX / 10) == INT64_MAX && clock_ms_as_us(INT64_MIN / 10) == INT64_MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_zones),
	        cmocka_unit_test(test_edges),
	        cmocka_unit_test(test_clocks_agree),
	        cmocka_unit_test(test_spans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
