#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "ipc/crowd.h"

static struct gathering gathering;

static int teardown(void **state)
{
	gathering_release(&gathering);
	return 0;
}

static struct member number(unsigned n)
{
	return (struct member){.addr = {.family = AF_INET, .port = 80, .ip = {10, 0, (uint8_t)(n >> 8), (uint8_t)n}}};
}

static struct crowd_part part(unsigned at, unsigned n, unsigned total)
{
	struct crowd_part p = {.at = (uint16_t)at, .total = (uint16_t)total};

	for (unsigned i = 0; i < n; i++)
		p.list[i] = number(at + i);
	return p;
}

static enum gathered take(uint64_t id, unsigned at, unsigned n, unsigned total)
{
	struct crowd_part p = part(at, n, total);

	return gathering_take(&gathering, id, n, &p);
}

static void test_parts_make_a_whole(void **state)
{
	assert_int_equal(take(7, 0, 13, 30), GATHERED_PART);
	assert_int_equal(take(7, 13, 13, 30), GATHERED_PART);
	assert_int_equal(take(7, 26, 4, 30), GATHERED_ALL);
	assert_int_equal(gathering.n, 30);
	assert_int_equal(take(8, 0, 0, 0), GATHERED_ALL);
	assert_int_equal(gathering.n, 0);
}

static void test_it_may_begin_anew(void **state)
{
	assert_int_equal(take(7, 0, 13, 30), GATHERED_PART);
	assert_int_equal(take(7, 0, 2, 2), GATHERED_ALL);
	assert_int_equal(gathering.n, 2);
}

static void test_what_does_not_belong_together_is_dropped(void **state)
{
	static const struct {
		unsigned id, at, n, total;
	} wrong[] = {{7, 14, 5, 30}, {8, 13, 5, 30}, {7, 13, 5, 31}, {7, 13, 18, 30}, {7, 13, 0, 30}, {7, 30, 1, 30}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_int_equal(take(7, 0, 13, 30), GATHERED_PART);
		struct crowd_part p = part(wrong[i].at, wrong[i].n < 13 ? wrong[i].n : 13, wrong[i].total);
		assert_int_equal(gathering_take(&gathering, wrong[i].id, wrong[i].n, &p), GATHERED_WRONG);
		assert_null(gathering.list);
		assert_int_equal(take(7, 13, 13, 30), GATHERED_WRONG);
	}
}

static void test_there_are_not_too_many(void **state)
{
	assert_int_equal(take(7, 0, 13, CROWD_MAX), GATHERED_PART);
	assert_int_equal(take(7, 0, 13, CROWD_MAX + 1), GATHERED_WRONG);
}

static void test_only_addresses_of_names(void **state)
{
	struct crowd_part p = part(0, 2, 2);

	p.list[1].addr.family = AF_UNIX;
	assert_int_equal(gathering_take(&gathering, 7, 2, &p), GATHERED_WRONG);
	p = part(0, 2, 2);
	p.list[1].addr.scope = 3;
	assert_int_equal(gathering_take(&gathering, 7, 2, &p), GATHERED_WRONG);
}

static void test_the_same_twice_is_one(void **state)
{
	struct crowd_part p = part(0, 3, 3);

	p.list[2] = p.list[0];
	p.list[2].priority = 0;
	p.list[0].priority = 5;
	memset(p.list[0].addr.ip + 4, 0xff, 12); /* means nothing */
	assert_int_equal(gathering_take(&gathering, 7, 3, &p), GATHERED_ALL);
	assert_int_equal(gathering.n, 2);
	assert_int_equal(gathering.list[0].priority, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, teardown)
	static const struct CMUnitTest tests[] = {
	        T(test_parts_make_a_whole),
	        T(test_it_may_begin_anew),
	        T(test_what_does_not_belong_together_is_dropped),
	        T(test_there_are_not_too_many),
	        T(test_only_addresses_of_names),
	        T(test_the_same_twice_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
