/* What is known of each server that is checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "ipc/seats.h"

static struct seats *seats;
static struct health health;

static int setup(void **state)
{
	seats = mem_alloc(sizeof(*seats));
	memset(&health, 0, sizeof(health));
	return 0;
}

static int teardown(void **state)
{
	free(seats);
	return 0;
}

static void a_seat_is_a_server_and_what_it_is_asked(void **state)
{
	uint32_t a = seats_add(seats, 0, 100, 1), b = seats_add(seats, 0, 200, 1), c = seats_add(seats, 1, 100, 1);

	assert_int_equal(seats_add(seats, 0, 100, 2), a);
	assert_int_equal(seats_find(seats, 0, 200), b);
	assert_int_equal(seats_find(seats, 1, 100), c);
	assert_int_equal(seats_find(seats, 1, 200), SEAT_NONE);
	assert_int_equal(seats_add(seats, 1, 0, 1), SEAT_NONE); /* it is asked nothing */
	assert_int_equal(seats->n, 3);
}

static void one_that_comes_back_has_its_place(void **state)
{
	uint32_t a = seats_add(seats, 0, 100, 1), b = seats_add(seats, 1, 100, 1);

	seats_leave_all(seats, 50);
	seats_add(seats, 1, 100, 50);
	assert_int_equal(seats->list[a].left_ms, 50);
	assert_int_equal(seats->list[b].left_ms, 0);
	seats_leave_all(seats, 60);
	assert_int_equal(seats->list[a].left_ms, 50); /* since then, not since the last reload */
	assert_int_equal(seats_add(seats, 0, 100, 70), a);
	assert_int_equal(seats->list[a].left_ms, 0);
}

static void a_place_rests_for_a_while(void **state)
{
	int64_t now_ms = 1000;

	for (uint32_t i = 0; i < SEATS_MAX; i++)
		assert_int_equal(seats_add(seats, i % 4, 1000 + i, now_ms), i);
	assert_int_equal(seats_add(seats, 0, 1, now_ms), SEAT_NONE);
	seats_leave_all(seats, now_ms);
	for (uint32_t i = 0; i < SEATS_MAX; i++)
		if (i != 7 && i != 9)
			seats_add(seats, i % 4, 1000 + i, now_ms);
	seats->list[9].left_ms = now_ms - 1;
	assert_int_equal(seats_add(seats, 0, 1, now_ms + SEAT_REST_MS), 9); /* it has rested longest */
	assert_int_equal(seats_add(seats, 0, 2, now_ms + SEAT_REST_MS), SEAT_NONE);
	assert_int_equal(seats_add(seats, 0, 2, now_ms + SEAT_REST_MS + 1), 7);
	assert_int_equal(seats_find(seats, 3, 1007), SEAT_NONE);
}

static void nothing_is_known_of_another_s(void **state)
{
	char words[HEALTH_WORDS];

	health_begin(&health, 5);
	assert_int_equal(health_read(&health, 5).state, HEALTH_UNKNOWN);
	health_set(&health, HEALTH_DOWN, 77);
	health_say(&health, "connection refused");
	assert_int_equal(health_read(&health, 5).state, HEALTH_DOWN);
	assert_int_equal(health_read(&health, 5).since_ms, 77);
	assert_int_equal(health_read(&health, 6).state, HEALTH_UNKNOWN);
	health_begin(&health, 5); /* the next checker: it stays */
	assert_int_equal(health_read(&health, 5).state, HEALTH_DOWN);
	health_begin(&health, 6);
	assert_int_equal(health_read(&health, 6).state, HEALTH_UNKNOWN);
	assert_int_equal(health.changes[HEALTH_DOWN], 0);
	health_words(&health, words);
	assert_string_equal(words, "");
}

static void nonsense_is_not_believed(void **state)
{
	char words[HEALTH_WORDS];

	health_begin(&health, 5);
	atomic_store(&health.state, UINT64_MAX);
	assert_int_equal(health_read(&health, 5).state, HEALTH_UNKNOWN);
	memset(health.words, 'x', sizeof(health.words));
	health.sequence = 1; /* a checker died while it wrote */
	health_words(&health, words);
	assert_int_equal(strlen(words), HEALTH_WORDS - 1);
	health_say(&health, "well");
	health_words(&health, words);
	assert_string_equal(words, "well");
	assert_int_equal(health.sequence % 2, 0);
}

/* Of each line, when it was asked the last time, and what it was answered. */
static void an_answer_counts_if_it_was_asked_for_late_enough(void **state)
{
	bool yes;

	health_begin(&health, 7);
	assert_false(health_answered(&health, 0, 1, &yes));
	health_asked(&health, 0, 100, true);
	health_asked(&health, 7, 200, false);
	assert_true(health_answered(&health, 0, 100, &yes) && yes);
	assert_false(health_answered(&health, 0, 101, &yes));
	assert_true(health_answered(&health, 7, 150, &yes) && !yes);
	health_begin(&health, 8); /* another seat's */
	assert_false(health_answered(&health, 0, 1, &yes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_seat_is_a_server_and_what_it_is_asked, setup, teardown),
	        cmocka_unit_test_setup_teardown(one_that_comes_back_has_its_place, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_place_rests_for_a_while, setup, teardown),
	        cmocka_unit_test_setup_teardown(nothing_is_known_of_another_s, setup, teardown),
	        cmocka_unit_test_setup_teardown(nonsense_is_not_believed, setup, teardown),
	        cmocka_unit_test_setup_teardown(an_answer_counts_if_it_was_asked_for_late_enough, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
