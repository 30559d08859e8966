#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "servers/known.h"

#define HOLD 10000
#define KEEP 3600000

static const struct known_times times = {.hold_ms = HOLD, .keep_ms = KEEP};
static struct knowledge known;
static char text[4096];

static int teardown(void **state)
{
	known_release(&known);
	return 0;
}

/* "1 2": the last numbers of 10.0.0.0/24, or of fd00::/120 with a '6' before it. */
static bool answer(const char *list, uint16_t unanswered, int64_t now_ms)
{
	struct addr addrs[16];
	char copy[256], *rest = NULL;
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", list);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		char full[64];

		snprintf(full, sizeof(full), *word == 'f' ? "fd00::%s" : "10.0.0.%s", *word == 'f' ? word + 1 : word);
		assert_true(addr_parse(full, &addrs[n++]));
	}
	return known_addrs(&known, addrs, n, unanswered, &times, now_ms);
}

/* As "1 2 f1", with a '-' behind what is only held. */
static const char *now(void)
{
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < known.n; i++) {
		const struct known_item *k = &known.list[i];
		bool six = k->addr.family == AF_INET6;

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s%u%s", i ? " " : "", six ? "f" : "",
		                       k->addr.ip[six ? 15 : 3], k->gone_ms ? "-" : "");
	}
	return text;
}

static bool records(const char *list, int64_t now_ms)
{
	struct srv_record r[8] = {0};
	int n = 0, len;

	while (sscanf(list, "%hu %hu %hu %253s%n", &r[n].priority, &r[n].weight, &r[n].port, r[n].host, &len) == 4) {
		list += len;
		n++;
	}
	return known_records(&known, r, (size_t)n, &times, now_ms);
}

static const char *records_now(void)
{
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < known.n; i++) {
		const struct known_item *k = &known.list[i];

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u %u %u %s%s", i ? ", " : "", k->priority,
		                       k->weight, k->port, k->host, k->gone_ms ? "-" : "");
	}
	return text;
}

static void test_the_order_of_an_answer_means_nothing(void **state)
{
	assert_true(answer("3 1 2", AF_UNSPEC, 1000));
	assert_string_equal(now(), "1 2 3");
	assert_false(answer("2 3 1 2", AF_UNSPEC, 2000));
	assert_string_equal(now(), "1 2 3");
}

static void test_what_is_left_out_is_held(void **state)
{
	answer("1 2 3 4", AF_UNSPEC, 1000);
	assert_false(answer("1 3", AF_UNSPEC, 2000));
	assert_string_equal(now(), "1 2- 3 4-");
	assert_true(known_next_drop(&known, &times) == 2000 + HOLD);
	assert_false(known_drop(&known, &times, 2000 + HOLD - 1));
	assert_true(known_drop(&known, &times, 2000 + HOLD));
	assert_string_equal(now(), "1 3");
	assert_true(known_next_drop(&known, &times) == INT64_MAX);
}

static void test_parts_in_turn_change_nothing(void **state)
{
	answer("1 2 3 4 5 6 7 8", AF_UNSPEC, 1000);
	for (int i = 1; i < 100; i++)
		assert_false(answer(i % 2 ? "1 3 5 7" : "2 4 6 8", AF_UNSPEC, 1000 + i * (HOLD - 1)));
	assert_int_equal(known.n, 8);
}

static void test_it_is_held_from_when_it_was_first_missing(void **state)
{
	answer("1 2", AF_UNSPEC, 1000);
	answer("1", AF_UNSPEC, 2000);
	answer("1", AF_UNSPEC, 7000);
	assert_true(answer("1", AF_UNSPEC, 2000 + HOLD));
	assert_string_equal(now(), "1");
}

static void test_one_that_is_back_is_as_good_as_ever(void **state)
{
	answer("1 2", AF_UNSPEC, 1000);
	answer("1", AF_UNSPEC, 2000);
	answer("2", AF_UNSPEC, 3000);
	assert_string_equal(now(), "1- 2");
	assert_true(answer("1 3", AF_UNSPEC, 4000));
	assert_string_equal(now(), "1 2- 3");
}

static void test_a_family_that_is_not_answered_stays(void **state)
{
	answer("1 f1 f2", AF_UNSPEC, 1000);
	assert_false(answer("1", AF_INET6, 2000));
	assert_string_equal(now(), "1 f1 f2");
	assert_true(answer("2", AF_INET6, 3000 + HOLD));
	assert_string_equal(now(), "1- 2 f1 f2");
}

static void test_no_such_name_keeps_all_for_a_while(void **state)
{
	answer("1 2", AF_UNSPEC, 1000);
	assert_false(known_none(&known, &times, 2000));
	assert_false(known_none(&known, &times, 2000 + KEEP - 1));
	assert_string_equal(now(), "1 2");
	answer("1 2", AF_UNSPEC, 2000 + KEEP); /* it is there again: the time begins anew */
	assert_false(known_none(&known, &times, 3000 + KEEP));
	assert_true(known_none(&known, &times, 3000 + 2 * KEEP));
	assert_string_equal(now(), "");
	assert_false(known_none(&known, &times, 4000 + 2 * KEEP));
}

static void test_port_and_host_change_together(void **state)
{
	records("10 1 80 a", 1000);
	assert_true(records("10 1 81 b", 2000));
	assert_string_equal(records_now(), "10 1 80 a-, 10 1 81 b");
	assert_true(known_drop(&known, &times, 2000 + HOLD));
	assert_string_equal(records_now(), "10 1 81 b");
}

static void test_priority_and_weight_hold_at_once(void **state)
{
	records("10 1 80 a 20 5 80 b", 1000);
	assert_true(records("20 5 80 b 20 7 80 a", 2000));
	assert_string_equal(records_now(), "20 7 80 a, 20 5 80 b");
	assert_false(records("20 7 80 a 20 5 80 b", 3000));
}

static void test_the_same_host_at_two_ports_is_two(void **state)
{
	records("1 1 80 a 1 1 81 a 9 1 80 a", 1000);
	assert_int_equal(known.n, 2);
}

static void test_there_is_an_end_to_all(void **state)
{
	struct addr *many = mem_alloc((KNOWN_MAX + 500) * sizeof(*many));

	for (unsigned i = 0; i < KNOWN_MAX + 500; i++)
		many[i] = (struct addr){.family = AF_INET, .ip = {10, 1, (uint8_t)(i >> 8), (uint8_t)i}};
	assert_true(known_addrs(&known, many, KNOWN_MAX + 500, AF_UNSPEC, &times, 1000));
	assert_int_equal(known.n, KNOWN_MAX);
	/* what is there goes before what is only held */
	assert_true(known_addrs(&known, many + 500, KNOWN_MAX, AF_UNSPEC, &times, 2000));
	assert_int_equal(known.n, KNOWN_MAX);
	for (size_t i = 0; i < known.n; i++)
		assert_true(known.list[i].gone_ms == 0);
	free(many);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(test_the_order_of_an_answer_means_nothing, teardown),
	        cmocka_unit_test_teardown(test_what_is_left_out_is_held, teardown),
	        cmocka_unit_test_teardown(test_parts_in_turn_change_nothing, teardown),
	        cmocka_unit_test_teardown(test_it_is_held_from_when_it_was_first_missing, teardown),
	        cmocka_unit_test_teardown(test_one_that_is_back_is_as_good_as_ever, teardown),
	        cmocka_unit_test_teardown(test_a_family_that_is_not_answered_stays, teardown),
	        cmocka_unit_test_teardown(test_no_such_name_keeps_all_for_a_while, teardown),
	        cmocka_unit_test_teardown(test_port_and_host_change_together, teardown),
	        cmocka_unit_test_teardown(test_priority_and_weight_hold_at_once, teardown),
	        cmocka_unit_test_teardown(test_the_same_host_at_two_ports_is_two, teardown),
	        cmocka_unit_test_teardown(test_there_is_an_end_to_all, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
