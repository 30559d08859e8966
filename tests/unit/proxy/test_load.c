/* Who notices that the load is imbalance: of two workers, the one that looks is the first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include "proxy/engine.h"

static struct engine engine;
static struct world world;
static int64_t cpu_us;

int64_t __wrap_clock_cpu_us(void);

int64_t __wrap_clock_cpu_us(void)
{
	return cpu_us;
}

/* What the supervisor would be told. */
static enum said { NOTHING, TOO_MANY, TOO_BUSY } said;

static void note(void *arg, bool busy)
{
	said = busy ? TOO_BUSY : TOO_MANY;
}

/* The other has taken so much of its processor, and this many ms ago it said so. */
static void other(unsigned percent, int64_t ms_ago)
{
	atomic_store(&world.load[1].percent, percent);
	atomic_store(&world.load[1].at_ms, engine.loop.now_ms - ms_ago);
}

/* After so long, of which it worked this share, the first one looks. */
static enum said look_after(int64_t ms, int64_t percent)
{
	said = NOTHING;
	engine.loop.now_ms += ms;
	cpu_us += ms * 10 * percent;
	engine_look_at_load(&engine);
	return said;
}

static int setup(void **state)
{
	memset(&world, 0, sizeof(world));
	atomic_store(&world.n_workers, 2);
	engine = (struct engine){.world = &world, .imbalance = note};
	engine.loop.now_ms = engine.load_looked_ms = 100000;
	engine.load_cpu_us = cpu_us = 5000000;
	return 0;
}

static void it_looks_once_a_second(void **state)
{
	other(0, 0);
	assert_int_equal(look_after(999, 100), NOTHING);
	assert_int_equal(world_load(&world, 0, engine.loop.now_ms), 0);
	assert_int_equal(look_after(1, 100), TOO_BUSY);
	assert_int_equal(world_load(&world, 0, engine.loop.now_ms), 100);
	assert_int_equal(look_after(999, 100), NOTHING);
}

static void one_works_while_another_sleeps(void **state)
{
	static const struct {
		int64_t mine;
		unsigned others;
		enum said said;
	} cases[] = {
	        {100, 0, TOO_BUSY}, {86, 49, TOO_BUSY},  {85, 0, NOTHING},
	        {100, 50, NOTHING}, {100, 100, NOTHING}, {10, 0, NOTHING},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		other(cases[i].others, 0);
		assert_int_equal(look_after(1000, cases[i].mine), cases[i].said);
	}
}

/* One that says nothing has nothing to do. */
static void old_news_of_another_count_for_nothing(void **state)
{
	other(100, 60000);
	assert_int_equal(look_after(1000, 100), TOO_BUSY);
}

/* A worker that slept does not know whether it is busy now. */
static void after_a_long_sleep_it_waits_for_a_whole_second(void **state)
{
	assert_int_equal(look_after(2000, 100), NOTHING);
	assert_int_equal(look_after(1000, 100), TOO_BUSY);
}

static void connections_count_for_more(void **state)
{
	atomic_store(&world.live[0], 100);
	atomic_store(&world.live[1], 90);
	assert_int_equal(look_after(1000, 10), NOTHING);
	atomic_store(&world.live[1], 10);
	assert_int_equal(look_after(1000, 100), TOO_MANY);
	atomic_store(&world.live[0], 8); /* not worth it */
	atomic_store(&world.live[1], 0);
	assert_int_equal(look_after(1000, 10), NOTHING);
}

static void alone_there_is_nobody_to_give_to(void **state)
{
	atomic_store(&world.n_workers, 1);
	atomic_store(&world.live[0], 100);
	assert_int_equal(look_after(1000, 100), NOTHING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(it_looks_once_a_second, setup),
	        cmocka_unit_test_setup(one_works_while_another_sleeps, setup),
	        cmocka_unit_test_setup(old_news_of_another_count_for_nothing, setup),
	        cmocka_unit_test_setup(after_a_long_sleep_it_waits_for_a_whole_second, setup),
	        cmocka_unit_test_setup(connections_count_for_more, setup),
	        cmocka_unit_test_setup(alone_there_is_nobody_to_give_to, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
