/* The order of a large pool: the next one is found without a look at all of them. */
#include "fixture.h"

#include <sys/mman.h>
#include "proxy/shortlist.h"

#define MANY 1000

static struct trio *trio;
static struct limits limits;
static uint64_t keys[MANY], members[MANY];
static atomic_ullong passes[MANY];
static struct contender list[MANY];
static struct connection_counts counts;
static struct shortlist *shortlist;
static uint64_t generator;

static void weigh(uint32_t i, uint32_t weight)
{
	list[i].weight = weight * WEIGHT_ONE;
	list[i].stride = round_robin_stride(list[i].weight);
}

static int setup(void **state)
{
	trio = trio_new_private(16);
	assert_non_null(trio);
	limits = (struct limits){.trios = &trio, .n_trios = 1};
	counts = (struct connection_counts){.limits = &limits, .keys = keys};
	generator = 7;
	for (uint32_t i = 0; i < MANY; i++) {
		char name[32];

		snprintf(name, sizeof(name), "10.0.%u.%u:80", i / 250, i % 250);
		keys[i] = limit_key(LIMIT_SERVER, name, strlen(name));
		members[i] = hash_member(name);
		atomic_store(&passes[i], 0);
		list[i] = (struct contender){.member = i, .pass = &passes[i]};
		weigh(i, 1);
	}
	shortlist = shortlist_new(MANY);
	return 0;
}

static int teardown(void **state)
{
	shortlist_free(shortlist);
	munmap(trio, trio_size);
	return 0;
}

static uint32_t pick(enum balance_way way, uint64_t key)
{
	return shortlist_pick(shortlist, list, way, key, &generator, &counts);
}

static uint32_t turn(enum balance_way way)
{
	uint32_t i = pick(way, 0);

	assert_true(shortlist_turn(shortlist, list, i, way));
	return i;
}

static void turns(unsigned n, enum balance_way way, unsigned got[MANY])
{
	memset(got, 0, MANY * sizeof(*got));
	while (n-- > 0)
		got[turn(way)]++;
}

/* ---- turns ---- */

static void each_has_its_turn(void **state)
{
	unsigned got[MANY];

	shortlist_set(shortlist, list, MANY, BALANCE_ROUND_ROBIN, members);
	turns(3 * MANY, BALANCE_ROUND_ROBIN, got);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(got[i], 3);
}

static void shares_are_exact(void **state)
{
	unsigned got[MANY];

	weigh(17, 3);
	weigh(500, 100);
	shortlist_set(shortlist, list, MANY, BALANCE_ROUND_ROBIN, members);
	turns(7 * (MANY + 2 + 99), BALANCE_ROUND_ROBIN, got);
	for (int i = 0; i < MANY; i++)
		assert_in_range(got[i], i == 17 ? 20 : i == 500 ? 699 : 6, i == 17 ? 22 : i == 500 ? 701 : 8);
}

/* They move the passes on behind our back. */
static void other_workers_give_turns_too(void **state)
{
	unsigned got[MANY];

	shortlist_set(shortlist, list, MANY, BALANCE_ROUND_ROBIN, members);
	for (int i = 0; i < MANY; i += 2)
		atomic_fetch_add(&passes[i], list[i].stride);
	turns(MANY / 2, BALANCE_ROUND_ROBIN, got);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(got[i], i % 2);
}

static void another_worker_may_be_faster(void **state)
{
	uint32_t i;

	shortlist_set(shortlist, list, MANY, BALANCE_ROUND_ROBIN, members);
	i = pick(BALANCE_ROUND_ROBIN, 0);
	atomic_fetch_add(&passes[i], list[i].stride);
	assert_false(shortlist_turn(shortlist, list, i, BALANCE_ROUND_ROBIN));
	assert_int_not_equal(turn(BALANCE_ROUND_ROBIN), i);
}

/* One that was away has no backlog; one whose word was another's has no debt. */
static void strays_are_put_where_the_others_are(void **state)
{
	unsigned got[MANY];

	for (int i = 0; i < MANY; i++)
		atomic_store(&passes[i], 1000 * list[i].stride);
	atomic_store(&passes[3], 0);
	atomic_store(&passes[4], 5000 * list[4].stride);
	shortlist_set(shortlist, list, MANY, BALANCE_ROUND_ROBIN, members);
	turns(2 * MANY, BALANCE_ROUND_ROBIN, got);
	for (int i = 0; i < MANY; i++)
		assert_in_range(got[i], 1, 3);
}

/* ---- connections ---- */

static void the_fewest_are_first(void **state)
{
	unsigned got[MANY];

	for (uint32_t i = 0; i < MANY; i++)
		list[i].connections = i < 10 ? 0 : 2;
	shortlist_set(shortlist, list, MANY, BALANCE_LEAST_CONNECTIONS, members);
	turns(20, BALANCE_LEAST_CONNECTIONS, got);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(got[i], i < 10 ? 2 : 0);
	turns(MANY, BALANCE_LEAST_CONNECTIONS, got);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(got[i], 1);
}

/* ---- by chance, by a key ---- */

static void who_weighs_more_is_drawn_more_often(void **state)
{
	unsigned got[MANY] = {0};

	weigh(0, 100);
	weigh(999, 100);
	shortlist_set(shortlist, list, MANY, BALANCE_RANDOM, members);
	for (int i = 0; i < 100000; i++)
		got[pick(BALANCE_RANDOM, 0)]++;
	assert_in_range(got[0], 7500, 9200);
	assert_in_range(got[999], 7500, 9200);
	for (int i = 1; i < 999; i++)
		assert_in_range(got[i], 40, 140);
}

static void a_key_comes_where_a_look_at_all_leads(void **state)
{
	shortlist_set(shortlist, list, MANY, BALANCE_HASH, members);
	assert_true(shortlist->equal);
	for (uint64_t key = 1; key < 3000; key++)
		assert_int_equal(pick(BALANCE_HASH, hash_mix(key)),
		                 hash_pick(list, MANY, hash_mix(key), members, 0, &counts));
	weigh(5, 2);
	shortlist_set(shortlist, list, MANY, BALANCE_HASH, members);
	assert_false(shortlist->equal);
}

static void larger_ones_hold_longer(void **state)
{
	assert_int_equal(shortlist_ms(17), 10);
	assert_int_equal(shortlist_ms(640), 10);
	assert_int_equal(shortlist_ms(1280), 20);
	assert_int_equal(shortlist_ms(16384), 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TEST(each_has_its_turn),
	        TEST(shares_are_exact),
	        TEST(other_workers_give_turns_too),
	        TEST(another_worker_may_be_faster),
	        TEST(strays_are_put_where_the_others_are),
	        TEST(the_fewest_are_first),
	        TEST(who_weighs_more_is_drawn_more_often),
	        TEST(a_key_comes_where_a_look_at_all_leads),
	        TEST(larger_ones_hold_longer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
