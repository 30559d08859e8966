/* What was changed of servers in one service only: where it stands, and what the next supervisor takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "ipc/world.h"

static struct spots *spots, *next;

static int setup(void **state)
{
	spots = mem_alloc(sizeof(*spots));
	next = mem_alloc(sizeof(*next));
	return 0;
}

static int teardown(void **state)
{
	free(spots);
	free(next);
	return 0;
}

static void one_is_found_by_service_and_server(void **state)
{
	struct spot *p;

	assert_null(spots_find(spots, 0, 0));
	p = spots_add(spots, 0, 0);
	assert_ptr_equal(spots_add(spots, 0, 0), p);
	assert_ptr_equal(spots_find(spots, 0, 0), p);
	assert_int_equal(spot_service(p), 0);
	assert_int_equal(spot_target(p), 0);
	assert_null(spots_find(spots, 0, 1));
	assert_null(spots_find(spots, 1, 0));
	p = spots_add(spots, COUNTED_SERVICES - 1, TARGETS_MAX - 1);
	assert_int_equal(spot_service(p), COUNTED_SERVICES - 1);
	assert_int_equal(spot_target(p), TARGETS_MAX - 1);
	assert_int_equal(spots->n, 2);
}

/* Thousands, and then there is no room; what speaks is not lost. */
static void a_full_table_refuses(void **state)
{
	uint32_t n = 0;
	struct spot *p;

	while ((p = spots_add(spots, n % 7, n))) {
		atomic_store(&p->admin_state, ADMIN_STATE_DISABLED);
		n++;
	}
	assert_in_range(n, SPOTS_MAX / 2, SPOTS_MAX);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(spots_find(spots, i % 7, i)->admin_state, ADMIN_STATE_DISABLED);
	assert_null(spots_find(spots, n % 7, n));
	for (uint32_t i = 0; i < n; i++)
		spot_forget((struct spot *)spots_find(spots, i % 7, i));
	p = spots_add(spots, n % 7, n);
	assert_non_null(p);
	assert_ptr_equal(spots_find(spots, n % 7, n), p);
}

static void one_that_another_gets_says_nothing(void **state)
{
	struct spot *p = spots_add(spots, 1, 2);

	changed_set_weight(&p->changed, WEIGHT_NUMBER, 5);
	assert_true(spot_speaks(p));
	spots_forget_target(spots, 3);
	assert_true(spot_speaks(p));
	spots_forget_target(spots, 2);
	assert_false(spot_speaks(p));
}

static void the_next_supervisor_takes_what_can_be(void **state)
{
	struct spot *p = spots_add(spots, 1, 2);

	atomic_store(&p->admin_state, ADMIN_STATE_DRAINING);
	changed_set_weight(&p->changed, WEIGHT_PERCENT, 50);
	atomic_store(&p->changed.line, 77);
	spots_add(spots, 0, 1);                                                   /* of which nothing is said */
	atomic_store(&spots_add(spots, 1, 9)->admin_state, ADMIN_STATE_DISABLED); /* no such server */
	atomic_store(&spots_add(spots, 9, 1)->admin_state, ADMIN_STATE_DISABLED); /* no such service */
	atomic_store(&spots_add(spots, 0, 0)->admin_state, 77);                   /* no such state */
	atomic_store(&spots_add(spots, 0, 2)->changed.weight, UINT32_MAX);
	spots_copy(next, spots, 2, 3);
	p = (struct spot *)spots_find(next, 1, 2);
	assert_int_equal(p->admin_state, ADMIN_STATE_DRAINING);
	assert_int_equal(changed_weight(&p->changed, 8), 4);
	assert_int_equal(p->changed.line, 77);
	assert_null(spots_find(next, 0, 1));
	assert_null(spots_find(next, 1, 9));
	assert_null(spots_find(next, 9, 1));
	assert_false(spot_speaks(spots_find(next, 0, 0)));
	assert_false(spot_speaks(spots_find(next, 0, 2)));
	assert_int_equal(next->n, 3);
}

static void what_stands_anywhere_is_found_in_bounds(void **state)
{
	memset((void *)spots, 0xff, sizeof(*spots));
	assert_null(spots_find(spots, 0, 0));
	assert_null(spots_add(spots, 0, 0));
	spots_copy(next, spots, 2, 3);
	assert_int_equal(next->n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(one_is_found_by_service_and_server, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_full_table_refuses, setup, teardown),
	        cmocka_unit_test_setup_teardown(one_that_another_gets_says_nothing, setup, teardown),
	        cmocka_unit_test_setup_teardown(the_next_supervisor_takes_what_can_be, setup, teardown),
	        cmocka_unit_test_setup_teardown(what_stands_anywhere_is_found_in_bounds, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
