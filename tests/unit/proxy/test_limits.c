#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include "base/mem.h"
#include "proxy/limits.h"

static struct trio *trios[2];
static struct limits a, b; /* of two workers */

static int setup(void **state)
{
	for (int i = 0; i < 2; i++) {
		trios[i] = trio_new_private(16); /* 128 words */
		assert_non_null(trios[i]);
	}
	a = (struct limits){.trios = trios, .n_trios = 2, .own = 0};
	b = (struct limits){.trios = trios, .n_trios = 2, .own = 1};
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < 2; i++)
		trio_unmap(trios[i]);
	return 0;
}

static uint64_t key_of(uint32_t n)
{
	return limit_key(LIMIT_CLIENT, &n, sizeof(n));
}

/* n rows have the key, and one has the number 9 under the link. */
static void recount(struct limits *l, uint64_t key, uint32_t n, uint64_t link)
{
	struct limits_recount r;

	limits_recount_begin(&r, l);
	for (uint32_t i = 0; i < n; i++)
		limits_recount_add(&r, key);
	limits_recount_add(&r, 0);
	if (link)
		limits_recount_set(&r, link, 9);
	limits_recount_end(&r);
}

static uint32_t used_words(struct trio *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->limit_slots; i++)
		n += trio_limits(t)[i] != 0;
	return n;
}

static void keys_are_told_apart(void **state)
{
	uint32_t n = 1;

	assert_true(limit_key(LIMIT_CLIENT, &n, sizeof(n)) != limit_key(LIMIT_SERVER, &n, sizeof(n)));
	assert_true(limit_key(LIMIT_GLOBAL, NULL, 0) != 0);
	assert_true(key_of(1) != key_of(2));
	assert_true(key_of(1) == key_of(1));
}

static void what_is_taken_can_be_given_back(void **state)
{
	uint64_t key = key_of(1), other = key_of(2);

	assert_true(limits_take(&a, key, 2));
	assert_true(limits_take(&a, key, 2));
	assert_false(limits_take(&a, key, 2));
	assert_int_equal(limits_count(&a, key), 2); /* who was refused does not count */
	assert_true(limits_take(&a, other, 1));
	assert_false(limits_take(&a, other, 1));
	limits_give(&a, key);
	assert_true(limits_take(&a, key, 2));
	assert_true(limits_take(&a, key, 0)); /* no limit: counted all the same */
	assert_int_equal(limits_count(&a, key), 3);
	for (int i = 0; i < 3; i++)
		limits_give(&a, key);
	limits_give(&a, other);
	limits_give(&a, other); /* nothing there to give */
	limits_give(&a, 0);
	assert_int_equal(limits_count(&a, key), 0);
	assert_int_equal(limits_count(&a, other), 0);
	assert_int_equal(used_words(trios[0]), 0);
}

static void a_limit_holds_over_all_workers(void **state)
{
	uint64_t key = key_of(1);

	assert_true(limits_take(&a, key, 3));
	assert_true(limits_take(&b, key, 3));
	assert_true(limits_take(&b, key, 3));
	assert_false(limits_take(&a, key, 3));
	assert_false(limits_take(&b, key, 3));
	assert_int_equal(limits_count(&a, key), 3);
	assert_int_equal(limits_count(&b, key), 3);
	limits_give(&a, key);
	limits_give(&a, key); /* only the owner of a table writes it: the other's stay */
	assert_int_equal(limits_count(&a, key), 2);
	assert_true(limits_take(&a, key, 3));
	recount(&b, 0, 0, 0);
	assert_int_equal(limits_count(&a, key), 1);
	recount(&a, 0, 0, 0);
	assert_int_equal(used_words(trios[0]) + used_words(trios[1]), 0);
}

static void a_successor_counts_what_is_there(void **state)
{
	uint64_t more = key_of(1), less = key_of(2), gone = key_of(3), missing = key_of(4);
	uint32_t number;

	limits_take(&a, more, 0);
	for (int i = 0; i < 5; i++) {
		limits_take(&a, less, 0);
		limits_take(&a, gone, 0);
	}
	limits_set(&a, key_of(5), 7);
	recount(&a, more, 2, 0);
	assert_int_equal(limits_count(&a, more), 2);
	assert_int_equal(limits_count(&a, less), 0);
	assert_false(limits_number(trios[0], key_of(5), &number));
	recount(&a, missing, 3, more);
	assert_int_equal(limits_count(&a, missing), 3);
	assert_true(limits_number(trios[0], more, &number));
	assert_int_equal(number, 9);
	limits_unset(&a, more, 9);
	for (int i = 0; i < 3; i++)
		limits_give(&a, missing);
	assert_int_equal(used_words(trios[0]), 0);
}

static atomic_bool over;

/* What another worker sees: the least of all. */
static void *look_on(void *arg)
{
	uint32_t *least = arg;

	while (!over) {
		uint32_t n = limits_count(&b, key_of(1));

		*least = n < *least ? n : *least;
	}
	return NULL;
}

/* Or another worker would take the places that are taken. */
static void who_counts_again_is_never_seen_with_less_than_there_is(void **state)
{
	uint32_t least = UINT32_MAX;
	pthread_t other;

	over = false;
	for (int i = 0; i < 3; i++)
		limits_take(&a, key_of(1), 3);
	assert_int_equal(pthread_create(&other, NULL, look_on, &least), 0);
	for (int i = 0; i < 20000; i++)
		recount(&a, key_of(1), 3, 0);
	over = true;
	pthread_join(other, NULL);
	assert_in_range(least, 3, 3);
}

/* Keys come and go by the thousands, with no more in use at a time than the rows could hold, and a number for each
 * row: none is ever refused or forgotten, and in the end no word is left. */
static void thousands_of_keys_come_and_go(void **state)
{
	enum { COUNTED = 16 * (LIMIT_KINDS - 1), IN_USE = COUNTED + 16 }; /* one key is the same for all */
	static uint32_t held[IN_USE];
	uint32_t next = 1, number;

	srandom(4711);
	memset(held, 0, sizeof(held));
	for (int step = 0; step < 50000; step++) {
		uint32_t i = (uint32_t)random() % IN_USE;

		if (held[i] && i >= COUNTED) {
			assert_true(limits_number(trios[0], key_of(held[i]), &number));
			assert_int_equal(number, i);
			limits_unset(&a, key_of(held[i]), i);
			held[i] = 0;
		} else if (held[i]) {
			assert_int_equal(limits_count(&a, key_of(held[i])), 1);
			limits_give(&a, key_of(held[i]));
			assert_int_equal(limits_count(&a, key_of(held[i])), 0);
			held[i] = 0;
		} else if (i >= COUNTED) {
			held[i] = next++;
			limits_set(&a, key_of(held[i]), i);
		} else {
			held[i] = next++;
			assert_true(limits_take(&a, key_of(held[i]), 1));
			assert_false(limits_take(&a, key_of(held[i]), 1));
		}
	}
	assert_true(next > 10000);
	for (uint32_t i = 0; i < COUNTED; i++) {
		if (held[i])
			assert_int_equal(limits_count(&a, key_of(held[i])), 1);
		limits_give(&a, held[i] ? key_of(held[i]) : 0);
	}
	for (uint32_t i = COUNTED; i < IN_USE; i++)
		limits_unset(&a, held[i] ? key_of(held[i]) : 0, i);
	assert_int_equal(used_words(trios[0]), 0);
}

/* The words of numbers are among those of counts, and the one does not know of the other. */
static void numbers_under_keys(void **state)
{
	uint64_t key = limit_key(LIMIT_KINDS, "socket", 6), other = limit_key(LIMIT_KINDS, "another", 7);
	uint32_t n = 1;

	assert_true(key != limit_key(LIMIT_SERVER, "socket", 6));
	assert_false(limits_number(trios[0], key, &n));
	limits_set(&a, key, 0);
	limits_set(&a, other, LIMIT_NUMBERS - 1);
	assert_true(limits_number(trios[0], key, &n));
	assert_int_equal(n, 0);
	assert_true(limits_number(trios[0], other, &n));
	assert_int_equal(n, LIMIT_NUMBERS - 1);
	assert_false(limits_number(trios[1], key, &n)); /* of the other worker */
	limits_set(&a, key, 5);                         /* the last one holds */
	limits_unset(&a, key, 0);
	assert_true(limits_number(trios[0], key, &n));
	assert_int_equal(n, 5);
	assert_true(limits_take(&a, key_of(1), 1));
	limits_unset(&a, key, 5);
	limits_unset(&a, key, 5);
	assert_false(limits_number(trios[0], key, &n));
	limits_unset(&a, other, LIMIT_NUMBERS - 1);
	assert_int_equal(limits_count(&a, key_of(1)), 1);
	limits_give(&a, key_of(1));
	assert_int_equal(used_words(trios[0]), 0);
}

/* A full table refuses what is limited, and nothing else. */
static void a_full_table_is_no_reason_to_crash(void **state)
{
	uint32_t n = trios[0]->limit_slots;

	for (uint32_t i = 1; i <= n; i++)
		assert_true(limits_take(&a, key_of(i), 1));
	assert_int_equal(used_words(trios[0]), n);
	assert_false(limits_take(&a, key_of(n + 1), 1));
	assert_true(limits_take(&a, key_of(n + 1), 0));
	limits_give(&a, key_of(n + 1));
	limits_give(&a, key_of(1));
	assert_true(limits_take(&a, key_of(n + 1), 1)); /* the word serves another key */
	assert_int_equal(limits_count(&a, key_of(1)), 0);
	assert_int_equal(limits_count(&a, key_of(n + 1)), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(keys_are_told_apart),
	        TEST(what_is_taken_can_be_given_back),
	        TEST(a_limit_holds_over_all_workers),
	        TEST(a_successor_counts_what_is_there),
	        TEST(who_counts_again_is_never_seen_with_less_than_there_is),
	        TEST(thousands_of_keys_come_and_go),
	        TEST(numbers_under_keys),
	        TEST(a_full_table_is_no_reason_to_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
