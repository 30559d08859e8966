/* Where something probably stands in a table of thousands; what targets and seats make of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "ipc/hints.h"
#include "ipc/world.h"

static struct world *world;

static int setup(void **state)
{
	world = world_new_private();
	return world ? 0 : -1;
}

static int teardown(void **state)
{
	world_unmap(world);
	return 0;
}

static const char *key_of(uint32_t i)
{
	static char key[32];

	snprintf(key, sizeof(key), "10.0.%u.%u:%u", i >> 8, i & 255, 1 + i % 7);
	return key;
}

static uint32_t add(uint32_t i, const char *called, uint32_t of_service)
{
	struct server s = {.kind = SERVER_HOST, .key = (char *)key_of(i), .called = (char *)called};

	return targets_add(&world->targets, world->experience, &s, of_service);
}

static void thousands_are_found(void **state)
{
	for (uint32_t i = 0; i < 5000; i++)
		assert_int_equal(add(i, NULL, 0), i);
	assert_int_equal(add(7, "one", 3), 5000);
	assert_int_equal(add(7, "one", 4), 5001);
	for (uint32_t i = 0; i < 5000; i++)
		assert_int_equal(targets_find(&world->targets, key_of(i), NULL, 0), i);
	assert_int_equal(targets_find(&world->targets, key_of(7), "one", 3), 5000);
	assert_int_equal(targets_find(&world->targets, key_of(7), "one", 4), 5001);
	assert_int_equal(targets_find(&world->targets, key_of(7), "one", 5), TARGET_NONE);
	assert_int_equal(targets_find(&world->targets, key_of(5000), NULL, 0), TARGET_NONE);
}

/* Nobody says that the table has changed. */
static void one_that_has_become_another_is_found(void **state)
{
	for (uint32_t i = 0; i < 1000; i++)
		add(i, NULL, 0);
	assert_int_equal(targets_find(&world->targets, key_of(500), NULL, 0), 500);
	for (uint32_t turn = 0; turn < 300; turn++) { /* far more than there is room for hints */
		for (uint32_t i = 0; i < 400; i++) {
			struct target *t = &world->targets.list[i];

			snprintf(t->key, sizeof(t->key), "%s", key_of(2000 + turn * 400 + i));
			world->targets.spelt[i] = target_spelt(t->key);
			assert_int_equal(targets_find(&world->targets, t->key, NULL, 0), i);
		}
		assert_int_equal(targets_find(&world->targets, key_of(turn), NULL, 0), TARGET_NONE);
		assert_int_equal(targets_find(&world->targets, key_of(500), NULL, 0), 500);
	}
}

static void another_table_has_others(void **state)
{
	struct world *other = world_new_private();

	for (uint32_t i = 0; i < 200; i++)
		add(i, NULL, 0);
	assert_int_equal(targets_find(&world->targets, key_of(150), NULL, 0), 150);
	assert_int_equal(targets_find(&other->targets, key_of(150), NULL, 0), TARGET_NONE);
	atomic_store(&other->targets.n, UINT32_MAX); /* of one that lies */
	assert_int_equal(targets_find(&other->targets, key_of(150), NULL, 0), TARGET_NONE);
	assert_int_equal(targets_find(&world->targets, key_of(150), NULL, 0), 150);
	world_unmap(other);
}

static void so_are_seats(void **state)
{
	for (uint32_t i = 0; i < 5000; i++)
		assert_int_equal(seats_add(&world->seats, i, 7 + i % 3, 1), i);
	for (uint32_t i = 0; i < 5000; i++)
		assert_int_equal(seats_find(&world->seats, i, 7 + i % 3), i);
	assert_int_equal(seats_find(&world->seats, 1, 7), SEAT_NONE);
	assert_int_equal(seats_find(&world->seats, 1, 0), SEAT_NONE);
	atomic_store(&world->seats.list[100].asks, 99);
	assert_int_equal(seats_find(&world->seats, 100, 99), 100);
	assert_int_equal(seats_find(&world->seats, 100, 7 + 100 % 3), SEAT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(thousands_are_found, setup, teardown),
	        cmocka_unit_test_setup_teardown(one_that_has_become_another_is_found, setup, teardown),
	        cmocka_unit_test_setup_teardown(another_table_has_others, setup, teardown),
	        cmocka_unit_test_setup_teardown(so_are_seats, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
