/* Servers that failed in a row are ejected: by whom, how often, for how long, until when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include "ipc/ejection.h"

static const struct eject_rule rule = {.for_ms = 1000, .max_ms = 10000, .after = 3, .share = 50};
static struct ejection e;

static int setup(void **state)
{
	memset(&e, 0, sizeof(e));
	return 0;
}

/* So many failures; how many of them ejected it. */
static unsigned fail_so_often(unsigned n, int64_t at_ms)
{
	struct ejected what;
	unsigned ret = 0;

	while (n-- > 0)
		ret += ejection_failed(&e, rule.after, at_ms) && ejection_begin(&e, &rule, false, at_ms, &what);
	return ret;
}

static void the_last_of_a_row_ejects(void **state)
{
	assert_int_equal(fail_so_often(2, 5000), 0);
	assert_false(ejection_is_on(&e, 5000));
	assert_int_equal(fail_so_often(1, 5000), 1);
	assert_true(ejection_is_on(&e, 5999));
	assert_false(ejection_is_on(&e, 6000));
	assert_int_equal(ejection_read(&e).number, 1);
	assert_int_equal(ejection_read(&e).began_ms, 5000);
	assert_int_equal(ejection_read(&e).length_ms, 1000);
}

static void one_that_works_ends_the_row(void **state)
{
	fail_so_often(2, 5000);
	ejection_worked(&e);
	assert_int_equal(fail_so_often(2, 5000), 0);
	assert_int_equal(fail_so_often(1, 5000), 1);
}

/* As many are needed the second time as the first time, whatever came while it was ejected. */
static void each_ejection_takes_a_row_of_its_own(void **state)
{
	assert_int_equal(fail_so_often(3, 5000), 1);
	assert_int_equal(fail_so_often(100, 5500), 0);
	assert_int_equal(fail_so_often(2, 6000), 0);
	assert_int_equal(fail_so_often(1, 6000), 1);
	assert_int_equal(ejection_read(&e).number, 2);
}

static void soon_again_it_is_twice_as_long(void **state)
{
	static const uint32_t lengths[] = {1000, 2000, 4000, 8000, 10000, 10000};
	int64_t at_ms = 5000;

	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(fail_so_often(3, at_ms), 1);
		assert_int_equal(ejection_read(&e).length_ms, lengths[i]);
		assert_int_equal(ejection_until_ms(&e), at_ms + lengths[i]);
		at_ms = ejection_until_ms(&e) + 10 * lengths[i];
	}
	assert_int_equal(fail_so_often(3, at_ms + 1), 1); /* later than that, the first time comes again */
	assert_int_equal(ejection_read(&e).length_ms, 1000);
}

static void one_too_many_is_withdrawn_and_asked_for_again(void **state)
{
	struct ejected what;

	fail_so_often(2, 5000);
	assert_true(ejection_failed(&e, rule.after, 5000));
	assert_true(ejection_begin(&e, &rule, false, 5000, &what));
	ejection_withdraw(&e, &what);
	assert_false(ejection_is_on(&e, 5000));
	assert_int_equal(ejection_read(&e).number, 0);
	assert_int_equal(fail_so_often(1, 5001), 1); /* the next failure, not only after three */
	ejection_withdraw(&e, &what);                /* of another one: nothing */
	assert_true(ejection_is_on(&e, 5001));
}

static void a_check_ends_it(void **state)
{
	fail_so_often(3, 5000);
	ejection_well(&e, 4999, true, 5100); /* it began before */
	ejection_well(&e, 5000, true, 5100); /* or at that moment */
	assert_true(ejection_is_on(&e, 5100));
	ejection_well(&e, 5001, false, 5200);
	assert_false(ejection_is_on(&e, 5200));
	assert_int_equal(ejection_until_ms(&e), 5200);
	assert_int_equal(fail_so_often(3, 5300), 1); /* it was the first one all the same */
	assert_int_equal(ejection_read(&e).length_ms, 2000);
}

static void one_for_early_ends_is_ended_by_a_byte(void **state)
{
	struct ejected what;

	fail_so_often(2, 5000);
	assert_true(ejection_failed(&e, rule.after, 5000));
	assert_true(ejection_begin(&e, &rule, true, 5000, &what));
	assert_true(ejection_read(&e).early);
	ejection_well(&e, 5001, false, 5100);
	assert_true(ejection_is_on(&e, 5100));
	ejection_well(&e, 5001, true, 5100);
	assert_false(ejection_is_on(&e, 5100));
}

/* ---- pitfall 68: many at the same time ---- */

#define THREADS  8
#define FAILURES 10000

static atomic_uint ejections;
static atomic_llong clock_ms;

static void *fail_on_and_on(void *arg)
{
	struct ejected what;

	for (int i = 0; i < FAILURES; i++) {
		int64_t at_ms = atomic_load(&clock_ms);

		if (ejection_failed(&e, rule.after, at_ms) && ejection_begin(&e, &rule, false, at_ms, &what))
			atomic_fetch_add(&ejections, 1);
	}
	return NULL;
}

static void all_at_once(void)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fail_on_and_on, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void of_thousands_at_once_one_ejects(void **state)
{
	for (unsigned round = 1; round <= 4; round++) {
		atomic_store(&clock_ms, ejection_until_ms(&e) + 5000);
		all_at_once();
		assert_int_equal(atomic_load(&ejections), round);
		assert_int_equal(ejection_read(&e).number, round);
		assert_int_equal(ejection_read(&e).length_ms, 1000u << (round - 1));
	}
}

static void a_withdrawn_one_is_not_lost_among_thousands(void **state)
{
	struct ejected what;

	atomic_store(&clock_ms, 5000);
	fail_so_often(2, 5000);
	assert_true(ejection_failed(&e, rule.after, 5000));
	assert_true(ejection_begin(&e, &rule, false, 5000, &what));
	ejection_withdraw(&e, &what);
	atomic_store(&ejections, 0);
	all_at_once();
	assert_int_equal(atomic_load(&ejections), 1);
}

static void whatever_the_words_are_they_mean_something(void **state)
{
	static const uint64_t words[] = {UINT64_MAX, 1ULL << 63, 1ULL << 40, (1ULL << 40) - 1};

	for (size_t i = 0; i < 4; i++) {
		memset(&e, 0xff, sizeof(e));
		atomic_store(&e.state, words[i]);
		fail_so_often(10, 5000);
		ejection_worked(&e);
		ejection_well(&e, INT64_MAX, true, 6000);
		assert_true(ejection_until_ms(&e) >= 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(the_last_of_a_row_ejects, setup),
	        cmocka_unit_test_setup(one_that_works_ends_the_row, setup),
	        cmocka_unit_test_setup(each_ejection_takes_a_row_of_its_own, setup),
	        cmocka_unit_test_setup(soon_again_it_is_twice_as_long, setup),
	        cmocka_unit_test_setup(one_too_many_is_withdrawn_and_asked_for_again, setup),
	        cmocka_unit_test_setup(a_check_ends_it, setup),
	        cmocka_unit_test_setup(one_for_early_ends_is_ended_by_a_byte, setup),
	        cmocka_unit_test_setup(of_thousands_at_once_one_ejects, setup),
	        cmocka_unit_test_setup(a_withdrawn_one_is_not_lost_among_thousands, setup),
	        cmocka_unit_test_setup(whatever_the_words_are_they_mean_something, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
