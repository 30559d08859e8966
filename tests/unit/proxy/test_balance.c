/* Which of several servers gets the next client, by each way. */
#include "fixture.h"

#include <stdlib.h>
#include <sys/mman.h>
#include "proxy/balance.h"

#define MANY 64

static struct trio *trio;
static struct limits limits;
static uint64_t keys[MANY], members[MANY];
static struct contender list[MANY];
static struct connection_counts counts;

static int setup(void **state)
{
	trio = trio_new_private(16);
	assert_non_null(trio);
	limits = (struct limits){.trios = &trio, .n_trios = 1};
	counts = (struct connection_counts){.limits = &limits, .keys = keys};
	for (uint32_t i = 0; i < MANY; i++) {
		char name[16];

		snprintf(name, sizeof(name), "10.0.0.%u:80", i);
		keys[i] = limit_key(LIMIT_SERVER, name, strlen(name));
		members[i] = hash_member(name);
		list[i] = (struct contender){.member = i, .weight = WEIGHT_ONE};
	}
	return 0;
}

static int teardown(void **state)
{
	munmap(trio, trio_size);
	return 0;
}

static void connect_to(uint32_t member, unsigned n)
{
	while (n-- > 0)
		assert_true(limits_take(&limits, keys[member], 0));
}

static struct addr client(uint32_t n)
{
	return (struct addr){.family = AF_INET, .ip = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

/* ---- least-connections ---- */

static void the_fewest_come_to_the_front(void **state)
{
	connect_to(0, 2);
	connect_to(1, 1);
	connect_to(3, 1);
	assert_int_equal(least_connections(list, 4, &counts), 1);
	assert_int_equal(list[0].member, 2);
	connect_to(2, 1);
	assert_int_equal(least_connections(list, 4, &counts), 3);
	for (int i = 0; i < 3; i++)
		assert_int_not_equal(list[i].member, 0);
}

static void few_for_their_weight(void **state)
{
	list[0].weight = 3 * WEIGHT_ONE;
	connect_to(0, 2);
	connect_to(1, 1);
	assert_int_equal(least_connections(list, 2, &counts), 1);
	assert_int_equal(list[0].member, 0);
	connect_to(0, 1); /* 3/3 and 1/1 */
	assert_int_equal(least_connections(list, 2, &counts), 2);
	connect_to(0, 1);
	assert_int_equal(least_connections(list, 2, &counts), 1);
	assert_int_equal(list[0].member, 1);
}

/* ---- random ---- */

static void drawn_by_weight_the_better_of_two(void **state)
{
	uint64_t random = 12345, n[3] = {0};

	list[2].weight = 2 * WEIGHT_ONE;
	for (int i = 0; i < 40000; i++)
		n[random_pick(list, 3, &counts, &random)]++;
	/* none has connections: the first drawn of two that are alike */
	assert_in_range(n[2], 19000, 21000);
	assert_in_range(n[0], 9000, 11000);
	connect_to(2, 50);
	for (int i = 0; i < 3; i++)
		n[i] = 0;
	for (int i = 0; i < 40000; i++)
		n[random_pick(list, 3, &counts, &random)]++;
	assert_in_range(n[2], 9000, 11000); /* only where it was drawn twice */
}

/* ---- source, hash ---- */

static uint32_t of_client(uint32_t n, uint32_t servers)
{
	struct addr a = client(n);

	return list[hash_pick(list, servers, hash_client(&a), members, 0, &counts)].member;
}

static void take_away(uint32_t member, uint32_t n)
{
	memmove(&list[member], &list[member + 1], (n - member - 1) * sizeof(*list));
}

static void only_its_clients_move_when_one_goes(void **state)
{
	uint32_t before[3000];
	unsigned moved = 0;

	for (uint32_t i = 0; i < 3000; i++)
		before[i] = of_client(i, 10);
	take_away(4, 10);
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t now = of_client(i, 9);

		assert_int_not_equal(now, 4);
		if (before[i] != 4)
			assert_int_equal(now, before[i]);
		moved += before[i] == 4;
	}
	assert_in_range(moved, 240, 360);
}

static void any_order_of_the_lines_will_do(void **state)
{
	uint32_t before[500];

	for (uint32_t i = 0; i < 500; i++)
		before[i] = of_client(i, 7);
	for (uint32_t i = 0; i < 3; i++) {
		struct contender c = list[i];

		list[i] = list[6 - i];
		list[6 - i] = c;
	}
	for (uint32_t i = 0; i < 500; i++)
		assert_int_equal(of_client(i, 7), before[i]);
}

static void shares_are_exact(const uint32_t *weights, uint32_t n)
{
	uint64_t got[4] = {0}, sum = 0;
	const uint32_t clients = 400000;

	for (uint32_t i = 0; i < n; i++) {
		list[i].weight = weights[i] * WEIGHT_ONE;
		sum += weights[i];
	}
	for (uint32_t i = 0; i < clients; i++)
		got[of_client(i, n)]++;
	for (uint32_t i = 0; i < n; i++) {
		double share = (double)got[i] / clients, wanted = (double)weights[i] / (double)sum;

		/* four standard deviations of so many */
		assert_true(share > wanted - 0.0032 && share < wanted + 0.0032);
	}
}

static void weights_are_exact(void **state)
{
	shares_are_exact((const uint32_t[]){1, 3}, 2);
	shares_are_exact((const uint32_t[]){1, 1, 2, 4}, 4);
	shares_are_exact((const uint32_t[]){1, 100}, 2);
}

/* Two machines agree, whatever they are made of; so do two versions. */
static void what_was_chosen_once_is_chosen_always(void **state)
{
	static const uint8_t wanted[] = {6, 3, 2, 5, 4, 1, 4, 6, 2, 7, 6, 6, 1, 7, 3, 7, 2, 6, 2, 2, 1, 4, 7, 3};

	for (uint32_t i = 0; i < sizeof(wanted); i++)
		assert_int_equal(of_client(i, 8), wanted[i]);
}

static void a_client_of_ipv6_is_its_network(void **state)
{
	struct addr a, b, c;

	assert_true(addr_parse("2001:db8:1:2::3", &a));
	assert_true(addr_parse("2001:db8:1:2:ffff::9", &b));
	assert_true(addr_parse("2001:db8:1:3::3", &c));
	assert_true(hash_client(&a) == hash_client(&b));
	assert_true(hash_client(&a) != hash_client(&c));
}

static void none_gets_more_than_the_bound(void **state)
{
	struct addr a = client(7);
	unsigned n[4] = {0};

	for (unsigned all = 1; all <= 100; all++) { /* one client again and again */
		uint32_t got = hash_pick(list, 4, hash_client(&a), members, 125, &counts);

		connect_to(list[got].member, 1);
		n[got]++;
		for (int i = 0; i < 4; i++)
			assert_true(n[i] <= (all * 125 + 399) / 400);
	}
	for (int i = 0; i < 4; i++)
		assert_true(n[i] > 0);
	assert_int_equal(n[of_client(7, 4)], 32); /* as much as it may */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TEST(the_fewest_come_to_the_front),          TEST(few_for_their_weight),
	        TEST(drawn_by_weight_the_better_of_two),     TEST(only_its_clients_move_when_one_goes),
	        TEST(any_order_of_the_lines_will_do),        TEST(weights_are_exact),
	        TEST(what_was_chosen_once_is_chosen_always), TEST(a_client_of_ipv6_is_its_network),
	        TEST(none_gets_more_than_the_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
