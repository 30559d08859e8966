/* The connection that has called, as another trio tells of it: it may say anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/chain.c" /* copy_step() is its own */

#define LINK 0x1234567800000000ULL

static void a_row_of_another_trio(void **state)
{
	struct trio *t = trio_new_private(8);
	struct step_of_chain step;

	assert_non_null(t);
	put_link(trio_row(t, 3), LINK);
	trio_row(t, 3)->state = ROW_RELAY;
	trio_cold(t, 3)->label = 77;
	assert_true(copy_step(t, 3, LINK, &step));
	assert_int_equal(step.label, 77);
	assert_false(copy_step(t, 4, LINK, &step));
	assert_false(copy_step(t, 8, LINK, &step));
	trio_unmap(t);
}

/* A row that would stand behind all that there is. */
static void a_number_that_is_no_row_s(void **state)
{
	struct trio *t = trio_new_private(8);
	struct step_of_chain step;
	uint32_t number;
	struct limits l = {.trios = &t, .n_trios = 1};

	assert_non_null(t);
	t->n_rows = UINT32_MAX;
	limits_set(&l, LINK, LIMIT_NUMBERS - 1);
	assert_true(limits_number(t, LINK, &number));
	assert_true(number >= TRIO_ROWS);
	put_link((trio_row)(t, number), LINK); /* in its memory, though no row's */
	assert_false(copy_step(t, number, LINK, &step));
	trio_unmap(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_row_of_another_trio),
	        cmocka_unit_test(a_number_that_is_no_row_s),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
