/* When a server is up or down, and when it is asked again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checker/pulse.h"

static const struct pulse_rule rule = {.every_ms = 2000, .fast_ms = 500, .slow_ms = 8000, .rise = 2, .fall = 3};

static void the_first_answer_counts_alone(void **state)
{
	struct pulse p = {0}, q = {0};

	assert_true(pulse_hears(&p, &rule, true));
	assert_int_equal(p.state, PULSE_UP);
	assert_true(pulse_hears(&q, &rule, false));
	assert_int_equal(q.state, PULSE_DOWN);
}

static void it_falls_after_as_many_in_a_row(void **state)
{
	struct pulse p = {.state = PULSE_UP};

	assert_false(pulse_hears(&p, &rule, false));
	assert_false(pulse_hears(&p, &rule, false));
	assert_false(pulse_hears(&p, &rule, true)); /* begins anew */
	assert_false(pulse_hears(&p, &rule, false));
	assert_false(pulse_hears(&p, &rule, false));
	assert_int_equal(p.state, PULSE_UP);
	assert_true(pulse_hears(&p, &rule, false));
	assert_int_equal(p.state, PULSE_DOWN);
	assert_int_equal(p.row, 0);
}

static void it_rises_after_as_many_in_a_row(void **state)
{
	struct pulse p = {.state = PULSE_DOWN};

	assert_false(pulse_hears(&p, &rule, true));
	assert_false(pulse_hears(&p, &rule, false));
	assert_false(pulse_hears(&p, &rule, true));
	assert_true(pulse_hears(&p, &rule, true));
	assert_int_equal(p.state, PULSE_UP);
}

static void it_is_asked_as_often_as_its_state_wants(void **state)
{
	const struct {
		struct pulse pulse;
		uint32_t usual;
	} list[] = {
	        {{PULSE_UNKNOWN, 0}, 2000}, {{PULSE_UP, 0}, 2000},  {{PULSE_UP, 1}, 500},
	        {{PULSE_DOWN, 0}, 8000},    {{PULSE_DOWN, 1}, 500},
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		uint32_t usual = list[i].usual;

		assert_int_equal(pulse_pause_ms(&list[i].pulse, &rule, 0), usual - usual / 10);
		assert_int_equal(pulse_pause_ms(&list[i].pulse, &rule, UINT32_MAX), usual + usual / 10);
		assert_in_range(pulse_pause_ms(&list[i].pulse, &rule, UINT32_MAX / 2), usual - 1, usual + 1);
	}
}

static void the_first_ones_are_spread(void **state)
{
	unsigned in_quarter[4] = {0};

	for (uint64_t key = 0; key < 4000; key++) {
		uint32_t first = pulse_first_ms(&rule, key * 0x9e3779b97f4a7c15ULL >> 16);

		assert_in_range(first, 0, rule.every_ms - 1);
		in_quarter[first / 500]++;
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(in_quarter[i], 900, 1100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_first_answer_counts_alone),
	        cmocka_unit_test(it_falls_after_as_many_in_a_row),
	        cmocka_unit_test(it_rises_after_as_many_in_a_row),
	        cmocka_unit_test(it_is_asked_as_often_as_its_state_wants),
	        cmocka_unit_test(the_first_ones_are_spread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
