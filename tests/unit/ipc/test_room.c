/* Servers with ever new addresses do not fill the world: the places of those that are gone are used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "ipc/world.h"

static struct world *world;
static bool named[TARGETS_MAX];

static bool is_named(void *arg, uint32_t target)
{
	return named[target];
}

static void counted(void *arg, uint32_t target, struct counted *sum)
{
	count(sum, COUNT_connections, 7);
}

static const struct room_ops ops = {.named = is_named, .counted = counted};

/* Four pools of n servers each, named by a letter. */
static void take(char letter, int n)
{
	struct config_errors errors;
	struct buf text = BUF_INIT;
	struct config *c;

	for (int pool = 1; pool <= 4; pool++) {
		buf_addf(&text, "port %d\n", pool);
		for (int i = 0; i < n; i++)
			buf_addf(&text, "server %c%d-%d:1\n", letter, pool, i);
	}
	c = config_parse("", text.s, NULL, &errors);
	assert_non_null(c);
	world_make_room(world, c, &ops);
	world_take(world, c);
	config_free(c);
	buf_release(&text);
}

static uint32_t find(const char *key)
{
	return targets_find(&world->targets, key, NULL, 0);
}

static int begin(void **state)
{
	memset(named, 0, sizeof(named));
	world = world_new_private();
	return world == NULL;
}

static int end(void **state)
{
	world_unmap(world);
	return 0;
}

/* As if all that were left had been so for so long. */
static void let_rest(int64_t ms)
{
	for (uint32_t i = 0; i < atomic_load(&world->targets.n); i++)
		if (atomic_load(&world->targets.list[i].left_ms))
			atomic_fetch_sub(&world->targets.list[i].left_ms, ms);
}

static void a_full_table_keeps_who_is_there(void **state)
{
	take('a', 4096);
	assert_int_equal(atomic_load(&world->targets.n), TARGETS_MAX);
	take('b', 1);
	assert_int_equal(find("b1-0:1"), TARGET_NONE); /* they have only just gone */
	take('a', 4096);
	assert_int_equal(find("a4-4095:1"), TARGETS_MAX - 1);
}

static void who_is_gone_leaves_the_place(void **state)
{
	uint32_t i;

	take('a', 4096);
	named[find("a1-0:1")] = true;
	changed_set_weight(&world->targets.list[find("a1-1:1")].changed, WEIGHT_NUMBER, 5);
	target_failed(&world->experience[find("a1-1:1")], 1, 1);
	take('c', 1);
	let_rest(TARGET_REST_MS + 1000);
	take('b', 1);
	assert_int_not_equal(find("a1-0:1"), TARGET_NONE); /* a connection is its */
	assert_int_equal(find("a1-1:1"), TARGET_NONE);     /* the first that was not */
	i = find("b1-0:1");
	assert_int_equal(i, 1);
	assert_false(changed_has_weight(&world->targets.list[i].changed));
	assert_int_equal(target_health(&world->experience[i]).finding, UNTRIED);
	assert_int_equal(atomic_load(&world->targets.list[i].uses), 1);
	assert_int_equal(world->counted_before[i].values[COUNT_connections], 7);
	assert_int_not_equal(find("b4-0:1"), TARGET_NONE);
	assert_int_not_equal(find("a2-0:1"), TARGET_NONE); /* no more than is wanted */
}

static void ever_new_ones_do_not_fill_it(void **state)
{
	for (char letter = 'a'; letter < 'g'; letter++) {
		take(letter, 2500);
		let_rest(TARGET_REST_MS + 1000);
	}
	for (int pool = 1; pool <= 4; pool++) {
		char key[16];

		snprintf(key, sizeof(key), "f%d-2499:1", pool);
		assert_int_not_equal(find(key), TARGET_NONE);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_full_table_keeps_who_is_there),
	        TEST(who_is_gone_leaves_the_place),
	        TEST(ever_new_ones_do_not_fill_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
