/* What a server is said to be, and what was told of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ipc/server_state.h"

static struct world *world;
static struct standing unchecked, checked;

static int setup(void **state)
{
	struct server a = {.kind = SERVER_HOST, .key = (char *)"a:1"};

	world = world_new_private();
	unchecked.target = checked.target = targets_add(&world->targets, world->experience, &a, 0);
	unchecked.seat = SEAT_NONE;
	checked.asks = 7;
	checked.seat = seats_add(&world->seats, checked.target, checked.asks, 1);
	return 0;
}

static int teardown(void **state)
{
	world_unmap(world);
	return 0;
}

static struct experience *experience(void)
{
	return &world->experience[unchecked.target];
}

static void clients_find_what_is_not_checked(void **state)
{
	assert_int_equal(server_state_now(world, &unchecked), STATE_UNTRIED);
	target_worked(experience(), 10);
	assert_int_equal(server_state_now(world, &unchecked), STATE_UP);
	target_failed(experience(), 20, ECONNREFUSED);
	assert_int_equal(server_state_now(world, &unchecked), STATE_FAILED);
}

static void a_check_stands_above_them(void **state)
{
	struct health *h = &world->health[checked.seat];

	target_worked(experience(), 10);
	assert_int_equal(server_state_now(world, &checked), STATE_UNKNOWN);
	health_begin(h, checked.asks);
	health_set(h, HEALTH_UP, 20);
	assert_int_equal(server_state_now(world, &checked), STATE_UP);
	target_failed(experience(), 30, ECONNREFUSED);
	assert_int_equal(server_state_now(world, &checked), STATE_FAILED);
	health_set(h, HEALTH_DOWN, 40);
	assert_int_equal(server_state_now(world, &checked), STATE_DOWN);
	assert_int_equal(server_state(world, &checked, HEALTH_UP), STATE_FAILED); /* as a message says that is late */
}

static void a_name_without_an_address_above_that(void **state)
{
	struct target *t = &world->targets.list[checked.target];

	target_set_addrs(t, NULL, 0, false);
	assert_int_equal(server_state_now(world, &checked), STATE_UNRESOLVED);
	assert_int_equal(server_state_now(world, &unchecked), STATE_UNRESOLVED);
}

static void an_administrator_above_all(void **state)
{
	struct target *t = &world->targets.list[checked.target];

	target_set_addrs(t, NULL, 0, false);
	atomic_store(&t->changed.force, FORCE_UP);
	assert_int_equal(server_state_now(world, &checked), STATE_UP);
	atomic_store(&t->changed.force, FORCE_DOWN);
	assert_int_equal(server_state_now(world, &unchecked), STATE_DOWN);
}

static void nothing_told_is_that_nothing_is_known(void **state)
{
	atomic_ullong word = 0;

	assert_int_equal(told_state_read(&word, true).logged, STATE_UNKNOWN);
	assert_int_equal(told_state_read(&word, true).noted, STATE_UNKNOWN);
	assert_int_equal(told_state_read(&word, false).logged, STATE_UNTRIED);
}

static void what_was_told_is_one_word(void **state)
{
	atomic_ullong word = 0;
	struct told_state told = {.logged = STATE_DOWN, .noted = STATE_UP, .limited_ms = 1LL << 40}, back;

	told_state_write(&word, told);
	back = told_state_read(&word, true);
	assert_int_equal(back.logged, told.logged);
	assert_int_equal(back.noted, told.noted);
	assert_true(back.limited_ms == told.limited_ms);
	told_state_check(&word);
	assert_int_equal(told_state_read(&word, true).logged, STATE_DOWN);
}

static void of_another_supervisor_it_may_be_anything(void **state)
{
	atomic_ullong word = 0xffffffffffffff0fULL;

	told_state_check(&word);
	assert_int_equal(told_state_read(&word, true).logged, STATE_UNKNOWN);
	atomic_store(&word, 0x10000000000000f1ULL);
	told_state_check(&word);
	assert_int_equal(told_state_read(&word, true).noted, STATE_UNKNOWN);
}

static void every_state_has_a_name(void **state)
{
	for (unsigned i = 0; i < SERVER_STATES + 2; i++)
		assert_non_null(server_state_name((enum server_state)i));
	assert_string_equal(server_state_name(STATE_UNRESOLVED), "unresolved");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(clients_find_what_is_not_checked, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_check_stands_above_them, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_name_without_an_address_above_that, setup, teardown),
	        cmocka_unit_test_setup_teardown(an_administrator_above_all, setup, teardown),
	        cmocka_unit_test(nothing_told_is_that_nothing_is_known),
	        cmocka_unit_test(what_was_told_is_one_word),
	        cmocka_unit_test(of_another_supervisor_it_may_be_anything),
	        cmocka_unit_test(every_state_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
