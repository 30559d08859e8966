/* What stands in a trio's ring, and who of it has died, as the log tells it; the trio may have written anything. */
#include "fake_workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "children/ring_reader.h"
#include "ipc/accesslog.h"

#define DRAIN_MS 20

static struct worker *w;
static struct ring *ring;

static int setup(void **state)
{
	fixture_begin();
	fake_workers_begin();
	fake_workers_serve(1);
	w = &workers.list[0];
	ring = trio_ring(w->trio);
	return 0;
}

static int teardown(void **state)
{
	fake_workers_end();
	fixture_end();
	return 0;
}

/* As its worker does it. */
static void wake(void)
{
	atomic_store(&w->trio->reader_waits, 0);
	assert_int_equal(write(w->wake_fd, &(uint64_t){1}, 8), 8);
	turn();
}

static void put_line(const char *text, uint32_t level)
{
	struct line_message m = {.wall_us = 1, .level = level};
	size_t len = strlen(text);

	memcpy(m.text, text, len);
	assert_true(ring_put(ring, TRIO_RING, MESSAGE_LINE, &m, offsetof(struct line_message, text) + len));
}

static struct record_message close_record(uint64_t id)
{
	return (struct record_message){
	        .record = {.id = id, .event = RECORD_CLOSE, .end = END_CLIENT_FIN},
	        .label = LABEL_NONE,
	        .target = TARGET_NONE,
	        .service = UINT16_MAX,
	};
}

static void put_record(const struct record_message *m)
{
	size_t len = offsetof(struct record_message, texts) + m->len[TEXT_NAME] + m->len[TEXT_SERVER];

	assert_true(ring_put(ring, TRIO_RING, MESSAGE_RECORD, m, len));
}

/* ---- lines ---- */

static void test_a_line_is_logged_at_its_level(void **state)
{
	put_line("all is well", LOG_LEVEL_INFO);
	put_line("all is not well", LOG_LEVEL_WARNING);
	wake();
	assert_int_equal(written("info all is well"), 1);
	assert_int_equal(written("warning all is not well"), 1);
	assert_true(ring_empty(ring));
}

static void test_a_level_that_there_is_not_is_an_error(void **state)
{
	put_line("one", LOG_LEVEL_DEBUG + 1);
	put_line("two", UINT32_MAX);
	wake();
	assert_int_equal(written("error one"), 1);
	assert_int_equal(written("error two"), 1);
}

static void test_a_line_without_a_text_and_one_that_is_too_long_are_none(void **state)
{
	static struct {
		struct line_message line;
		char more;
	} m;
	const size_t whole = offsetof(struct line_message, text) + sizeof(m.line.text) - 1; /* and a NUL */

	memset(&m, 'x', sizeof(m));
	m.line.level = LOG_LEVEL_INFO;
	for (size_t len = 0; len <= offsetof(struct line_message, text); len++)
		ring_put(ring, TRIO_RING, MESSAGE_LINE, &m, len);
	for (size_t len = whole + 1; len <= sizeof(m); len++)
		ring_put(ring, TRIO_RING, MESSAGE_LINE, &m, len);
	wake();
	assert_true(ring_empty(ring));
	assert_int_equal(written(""), 0);
	ring_put(ring, TRIO_RING, MESSAGE_LINE, &m, whole);
	wake();
	assert_int_equal(written("xxxx"), 1);
}

static void test_what_is_neither_a_line_nor_a_record_is_dropped(void **state)
{
	for (uint32_t type = 0; type < 10; type++)
		if (type != MESSAGE_LINE && type != MESSAGE_RECORD)
			assert_true(ring_put(ring, TRIO_RING, type, "hello", 5));
	wake();
	assert_true(ring_empty(ring));
	assert_int_equal(written(""), 0);
}

/* ---- records ---- */

static void test_a_record_is_written(void **state)
{
	struct record_message m = close_record(17);

	put_record(&m);
	wake();
	assert_int_equal(written(" close id=17 "), 1);
}

static void test_a_record_that_nobody_has_asked_for_is_not(void **state)
{
	struct record_message m = close_record(17);

	m.record.unwanted = 1;
	put_record(&m);
	wake();
	assert_int_equal(written(""), 0);
}

static void test_a_record_has_the_format_of_its_section(void **state)
{
	static char format[] = "it was $id";
	struct record_message m = close_record(17);
	const uint32_t others[] = {0, WORLD_LABELS - 1, WORLD_LABELS, WORLD_LABELS + 1, UINT32_MAX - 1, LABEL_NONE};

	rules.formats[1] = format;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		m.label = others[i];
		put_record(&m);
	}
	wake();
	assert_int_equal(written("it was"), 0);
	assert_int_equal(written(" close id=17 "), sizeof(others) / sizeof(others[0]));
	m.label = 1;
	put_record(&m);
	wake();
	assert_int_equal(written("it was"), 1);
}

static void test_lengths_that_do_not_agree_make_no_record(void **state)
{
	static struct record_message m;

	m = close_record(17);
	for (size_t len = 0; len < offsetof(struct record_message, texts); len += 31)
		ring_put(ring, TRIO_RING, MESSAGE_RECORD, &m, len);
	m.len[TEXT_NAME] = 1;
	ring_put(ring, TRIO_RING, MESSAGE_RECORD, &m, offsetof(struct record_message, texts));
	for (int i = 0; i < RECORD_TEXTS; i++)
		m.len[i] = UINT16_MAX;
	ring_put(ring, TRIO_RING, MESSAGE_RECORD, &m, sizeof(m));
	wake();
	assert_true(ring_empty(ring));
	assert_int_equal(written(""), 0);
}

/* ---- when it is read ---- */

/* One that has a lot to say need not wake us for each. */
static void test_while_something_comes_it_is_looked_at_without_being_woken(void **state)
{
	put_line("one", LOG_LEVEL_INFO);
	wake();
	assert_int_equal(written("one"), 1);
	assert_int_equal(atomic_load(&w->trio->reader_waits), 0);
	put_line("two", LOG_LEVEL_INFO);
	pass(DRAIN_MS - 1);
	assert_int_equal(written("two"), 0);
	pass(1);
	assert_int_equal(written("two"), 1);
	assert_int_equal(atomic_load(&w->trio->reader_waits), 0);
	pass(DRAIN_MS);
	assert_int_equal(atomic_load(&w->trio->reader_waits), 1);
	assert_int_equal(loop.n_timers, 0);
}

static void test_a_flood_is_read_in_parts(void **state)
{
	unsigned all = 5000;

	for (unsigned i = 0; i < all; i++)
		put_line("x", LOG_LEVEL_DEBUG);
	wake();
	assert_false(ring_empty(ring));
	pass(DRAIN_MS);
	assert_false(ring_empty(ring));
	pass(DRAIN_MS);
	assert_true(ring_empty(ring));
}

static void test_what_had_no_room_is_counted_and_said(void **state)
{
	static struct line_message big;
	unsigned refused = 0;

	while (refused < 3)
		refused += !ring_put(ring, TRIO_RING, MESSAGE_LINE, &big, sizeof(big) - 1);
	wake();
	assert_int_equal(logged("worker 0: 3 log lines are lost"), 1);
	assert_int_equal(atomic_load(&workers.world->totals.lines_lost), 3);
	pass(DRAIN_MS);
	assert_int_equal(logged("are lost"), 1);
}

static void test_what_was_said_before_the_end_is_written(void **state)
{
	phase = PHASE_DRAINING;
	put_line("goodbye", LOG_LEVEL_INFO);
	hang_up(0);
	assert_int_equal(written("goodbye"), 1);
	put_line("once more", LOG_LEVEL_INFO);
	workers_drain(&workers);
	assert_int_equal(written("once more"), 1);
}

/* ---- deaths ---- */

static void die(uint32_t member, int status)
{
	unsigned n = atomic_load(&w->trio->n_deaths);

	w->trio->deaths[n % TRIO_DEATHS] =
	        (struct trio_death){.pid = 1000 + (int)n, .status = status, .member = member};
	atomic_store(&w->trio->n_deaths, n + 1);
}

static void test_each_death_is_said_once(void **state)
{
	die(MEMBER_WORKER, 11);
	die(MEMBER_KEEPER1, -1);
	die(MEMBER_KEEPER0, 9);
	die(MEMBER_KEEPER0, INT32_MIN | 9);
	wake();
	wake();
	assert_int_equal(logged("worker 0 (pid 1000) was killed by signal 11 (Segmentation fault) and is replaced"), 1);
	assert_int_equal(logged("keeper 0 (pid 1001) has died and is replaced"), 1);
	assert_int_equal(logged("keeper 0 (pid 1002) was killed by signal 9"), 1);
	assert_int_equal(logged("keeper 0 (pid 1003) has died and is replaced"), 1);
	assert_int_equal(logged(""), 4);
}

static void test_nobody_is_replaced_when_all_stops(void **state)
{
	phase = PHASE_STOPPING;
	die(MEMBER_WORKER, 9);
	wake();
	assert_int_equal(logged(""), 0);
	phase = PHASE_SERVING;
	wake();
	assert_int_equal(logged(""), 0);
}

static void test_of_very_many_the_last_are_said(void **state)
{
	for (int i = 0; i < TRIO_DEATHS + 4; i++)
		die(MEMBER_WORKER, 9);
	wake();
	assert_int_equal(logged(""), TRIO_DEATHS);
	assert_int_equal(logged("(pid 1003)"), 0);
	assert_int_equal(logged("(pid 1004)"), 1);
	assert_int_equal(logged("(pid 1019)"), 1);
}

static void test_numbers_of_deaths_may_be_any(void **state)
{
	static const unsigned all[] = {5, 2, UINT32_MAX, 0, UINT32_MAX / 2};

	for (int i = 0; i < TRIO_DEATHS; i++)
		w->trio->deaths[i] = (struct trio_death){.pid = -1, .status = INT32_MAX, .member = UINT32_MAX};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		forget_log();
		atomic_store(&w->trio->n_deaths, all[i]);
		wake();
		assert_in_range(logged("member 0 (pid -1)"), 1, TRIO_DEATHS);
		assert_int_equal(w->deaths_seen, all[i]);
	}
}

static void test_its_last_words_come_before_its_death(void **state)
{
	int err = lastwords_open(&w->child.words, &loop, "worker 0");

	assert_true(err >= 0);
	assert_int_equal(write(err, "abort!\n", 7), 7);
	die(MEMBER_WORKER, 6);
	atomic_store(&w->trio->reader_waits, 0);
	assert_int_equal(write(w->wake_fd, &(uint64_t){1}, 8), 8);
	ring_reader_woken(w, EPOLLIN);
	assert_true(log_line("worker 0: abort!") >= 0);
	assert_true(log_line("worker 0: abort!") < log_line("was killed by signal 6"));
	close(err);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_line_is_logged_at_its_level),
	        TEST(a_level_that_there_is_not_is_an_error),
	        TEST(a_line_without_a_text_and_one_that_is_too_long_are_none),
	        TEST(what_is_neither_a_line_nor_a_record_is_dropped),
	        TEST(a_record_is_written),
	        TEST(a_record_that_nobody_has_asked_for_is_not),
	        TEST(a_record_has_the_format_of_its_section),
	        TEST(lengths_that_do_not_agree_make_no_record),
	        TEST(while_something_comes_it_is_looked_at_without_being_woken),
	        TEST(a_flood_is_read_in_parts),
	        TEST(what_had_no_room_is_counted_and_said),
	        TEST(what_was_said_before_the_end_is_written),
	        TEST(each_death_is_said_once),
	        TEST(nobody_is_replaced_when_all_stops),
	        TEST(of_very_many_the_last_are_said),
	        TEST(numbers_of_deaths_may_be_any),
	        TEST(its_last_words_come_before_its_death),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
