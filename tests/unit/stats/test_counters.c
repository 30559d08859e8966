#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "stats/counters.h"

static struct counters counters;

static int clear(void **state)
{
	memset(&counters, 0, sizeof(counters));
	return 0;
}

static void those_beyond_the_last_share_its_place(void **state)
{
	assert_ptr_equal(counters_service(&counters, 3), &counters.services[3]);
	assert_ptr_equal(counters_service(&counters, 100000), &counters.services[COUNTED_SERVICES - 1]);
	assert_ptr_equal(counters_server(&counters, UINT32_MAX), &counters.servers[COUNTED_SERVERS - 1]);
}

static void a_time_falls_into_the_first_bucket_that_reaches_it(void **state)
{
	struct histogram *h = &counters.services[0].connect;

	count_time(h, connect_bounds_us, 0);
	count_time(h, connect_bounds_us, connect_bounds_us[0]);
	count_time(h, connect_bounds_us, connect_bounds_us[0] + 1);
	count_time(h, connect_bounds_us, connect_bounds_us[HISTOGRAM_BOUNDS - 1] + 1);
	assert_int_equal(h->buckets[0], 2);
	assert_int_equal(h->buckets[1], 1);
	assert_int_equal(h->buckets[HISTOGRAM_BOUNDS], 1);
	assert_int_equal(h->sum_us, 2 * connect_bounds_us[0] + 1 + connect_bounds_us[HISTOGRAM_BOUNDS - 1] + 1);
}

/* A clock that was moved must not make a sum shrink. */
static void a_negative_time_counts_as_none(void **state)
{
	struct histogram *h = &counters.services[0].duration;

	count_time(h, duration_bounds_us, -5);
	assert_int_equal(h->buckets[0], 1);
	assert_int_equal(h->sum_us, 0);
}

static void bounds_grow(void **state)
{
	for (int i = 1; i < HISTOGRAM_BOUNDS; i++) {
		assert_true(connect_bounds_us[i] > connect_bounds_us[i - 1]);
		assert_true(duration_bounds_us[i] > duration_bounds_us[i - 1]);
	}
}

static void workers_are_added_up(void **state)
{
	struct counted sum = {0}, *a = &counters.services[1], *b = &counters.services[2];

	count(a, COUNT_client_bytes, 40);
	count(b, COUNT_client_bytes, 2);
	count_more(&b->ends[COUNTED_ENDS - 1], 1);
	count_more(&b->refused[COUNTED_WHYS - 1], 5);
	count_time(&a->connect, connect_bounds_us, 7000);
	count_time(&b->connect, connect_bounds_us, 7000);
	counted_add(&sum, a);
	counted_add(&sum, b);
	assert_int_equal(sum.values[COUNT_client_bytes], 42);
	assert_int_equal(sum.values[COUNT_server_bytes], 0);
	assert_int_equal(sum.ends[COUNTED_ENDS - 1], 1);
	assert_int_equal(sum.refused[COUNTED_WHYS - 1], 5);
	assert_int_equal(sum.connect.sum_us, 14000);
	assert_int_equal(sum.connect.buckets[4], 2);
}

static void what_is_taken_off_never_goes_below_nothing(void **state)
{
	struct counted sum = {0}, *a = &counters.services[1];

	count(&sum, COUNT_client_bytes, 40);
	count_more(&sum.refused[COUNTED_WHYS - 1], 5);
	count(a, COUNT_client_bytes, 50);
	count_more(&a->refused[COUNTED_WHYS - 1], 2);
	counted_take_off(&sum, a);
	assert_int_equal(sum.values[COUNT_client_bytes], 0);
	assert_int_equal(sum.refused[COUNTED_WHYS - 1], 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(those_beyond_the_last_share_its_place, clear),
	        cmocka_unit_test_setup(a_time_falls_into_the_first_bucket_that_reaches_it, clear),
	        cmocka_unit_test_setup(a_negative_time_counts_as_none, clear),
	        cmocka_unit_test_setup(bounds_grow, clear),
	        cmocka_unit_test_setup(workers_are_added_up, clear),
	        cmocka_unit_test_setup(what_is_taken_off_never_goes_below_nothing, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
