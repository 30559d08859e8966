/* Those who wait in line, in two workers. */
#include "fixture.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "proxy/waiting.h"

#define ROWS 64
#define LINE 0x1234567890abcdeULL

static struct worker {
	struct trio *trio;
	struct loop loop;
	struct waiting_room room;
	struct waiting waiting[ROWS];
} worker[2];

static struct trio *trios[2];
static int rearm_fds[2];

static int places;             /* that are free */
static int64_t gone[2 * ROWS]; /* tickets of those who went on, in this order */
static int n_gone, n_over, n_reset, n_asked;
static bool there_is_nothing; /* when it comes to it */

/* ---- the scene ---- */

static int setup(void **state)
{
	for (uint32_t i = 0; i < 2; i++) {
		trios[i] = worker[i].trio = trio_new_private(ROWS);
		worker[i].trio->number = i;
		worker[i].trio->rows_used = ROWS;
		rearm_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_int_equal(loop_init(&worker[i].loop, -1, NULL, 8), 0);
		worker[i].loop.now_ms = clock_mono_ms();
	}
	for (uint32_t i = 0; i < 2; i++)
		waiting_room_init(&worker[i].room, &worker[i].loop, trios, 2, i, rearm_fds);
	places = n_gone = n_over = n_reset = n_asked = 0;
	there_is_nothing = false;
	return 0;
}

static int teardown(void **state)
{
	for (uint32_t i = 0; i < 2; i++) {
		waiting_room_forget(&worker[i].room);
		loop_release(&worker[i].loop);
		munmap(worker[i].trio, trio_size);
		close(rearm_fds[i]);
	}
	return 0;
}

static bool ready(void *arg, bool first)
{
	n_asked++;
	return first && places > 0;
}

static void done(void *arg, enum waiting_outcome outcome);

static void wait_from(struct worker *w, uint32_t i, int64_t ticket, int64_t time_ms)
{
	struct waiting *one = &w->waiting[i];

	*one = (struct waiting){.ready = ready, .done = done, .arg = one};
	trio_cold(w->trio, i)->wait.since_us = ticket;
	waiting_start(one, &w->room, trio_row(w->trio, i), trio_cold(w->trio, i), ROW_QUEUED, LINE,
	              w->loop.now_ms + time_ms);
}

static void done(void *arg, enum waiting_outcome outcome)
{
	struct waiting *one = arg;
	struct worker *w = one->room == &worker[0].room ? &worker[0] : &worker[1];

	n_over += outcome == WAITING_OVER;
	n_reset += outcome == WAITING_RESET;
	if (outcome != WAITING_TURN)
		return;
	if (there_is_nothing) {
		wait_from(w, (uint32_t)(one - w->waiting), one->cold->wait.since_us, 1000);
		return;
	}
	places--;
	one->row->state = ROW_CONNECTING;
	gone[n_gone++] = one->cold->wait.since_us;
}

static void look(struct worker *w)
{
	w->room.wanted = true;
	waiting_look(&w->room);
}

static bool was_woken(int i)
{
	uint64_t count;

	return read(rearm_fds[i], &count, sizeof(count)) == sizeof(count);
}

/* ---- one worker ---- */

static void who_came_first_goes_first(void **state)
{
	/* as a successor finds them: in the order of their rows */
	for (uint32_t i = 0; i < ROWS; i++)
		wait_from(&worker[0], i, 1 + i * 37 % ROWS, 1000);
	for (uint32_t i = 0; i < ROWS; i += 3) /* these are gone before */
		waiting_cancel(&worker[0].waiting[i]);
	assert_int_equal(atomic_load(&worker[0].trio->waiting), ROWS - (ROWS + 2) / 3);
	places = ROWS;
	look(&worker[0]);
	assert_int_equal(n_gone, ROWS - (ROWS + 2) / 3);
	for (int i = 1; i < n_gone; i++)
		assert_true(gone[i - 1] < gone[i]);
	assert_int_equal(atomic_load(&worker[0].trio->waiting), 0);
}

static void no_more_go_than_there_are_places(void **state)
{
	for (uint32_t i = 0; i < 5; i++)
		wait_from(&worker[0], i, 10 + i, 1000);
	places = 2;
	look(&worker[0]);
	assert_int_equal(n_gone, 2);
	look(&worker[0]);
	assert_int_equal(n_gone, 2);
}

static void who_finds_nothing_waits_on_and_is_asked_once(void **state)
{
	wait_from(&worker[0], 0, 10, 1000);
	wait_from(&worker[0], 1, 20, 1000);
	places = 1;
	there_is_nothing = true;
	look(&worker[0]);
	assert_int_equal(n_asked, 1);
	there_is_nothing = false;
	look(&worker[0]);
	assert_int_equal(gone[0], 10);
}

static void how_long_it_has_waited_goes_on_over_several_waits(void **state)
{
	struct row_cold *cold = trio_cold(worker[0].trio, 0);

	wait_from(&worker[0], 0, 10, 1000);
	cold->wait.began_us -= 3000000; /* it has for three seconds */
	waiting_cancel(&worker[0].waiting[0]);
	assert_int_equal(cold->wait.began_us, 0);
	assert_in_range(row_waited_us(cold, clock_mono_us()), 3000000, 3900000);
	wait_from(&worker[0], 0, 10, 1000);
	assert_in_range(row_waited_us(cold, clock_mono_us() + 1000000), 4000000, 4900000);
	waiting_cancel(&worker[0].waiting[0]);
	waiting_cancel(&worker[0].waiting[0]); /* says nothing new */
	assert_int_equal(atomic_load(&worker[0].trio->waiting), 0);
}

static void its_time_and_an_error_end_it(void **state)
{
	wait_from(&worker[0], 0, 10, 5);
	wait_from(&worker[0], 1, 20, 100000);
	while (n_over == 0)
		assert_int_equal(loop_turn(&worker[0].loop, 100), 0);
	waiting_event(&worker[0].waiting[1], EPOLLIN | EPOLLRDHUP); /* a FIN */
	assert_int_equal(n_reset, 0);
	waiting_event(&worker[0].waiting[1], EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
	assert_int_equal(n_reset, 1);
	assert_int_equal(atomic_load(&worker[0].trio->waiting), 0);
	assert_false(waiting_has_line(&worker[1].room, LINE));
}

/* ---- two ---- */

static void the_oldest_of_all_workers_goes_and_wakes_the_next(void **state)
{
	wait_from(&worker[0], 0, 20, 1000);
	wait_from(&worker[1], 0, 10, 1000);
	wait_from(&worker[1], 1, 30, 1000);
	waiting_look(&worker[1].room);
	assert_true(was_woken(0)); /* there is an older one */
	was_woken(1);
	places = 3;
	look(&worker[0]);
	assert_int_equal(n_gone, 0);
	look(&worker[1]);
	assert_int_equal(n_gone, 1);
	assert_true(was_woken(0));
	look(&worker[0]);
	assert_int_equal(n_gone, 2);
	assert_true(was_woken(1));
	look(&worker[1]);
	assert_int_equal(n_gone, 3);
	assert_true(gone[0] == 10 && gone[1] == 20 && gone[2] == 30);
}

static void one_that_does_not_look_is_passed_over(void **state)
{
	wait_from(&worker[0], 0, 20, 10000);
	wait_from(&worker[1], 0, 10, 10000);
	places = 2;
	worker[0].loop.now_ms += 900;
	look(&worker[0]);
	assert_int_equal(n_gone, 0);
	worker[0].loop.now_ms += 200;
	look(&worker[0]);
	assert_int_equal(n_gone, 1);
	worker[1].loop.now_ms = worker[0].loop.now_ms; /* it is back, and has its turn */
	look(&worker[1]);
	assert_int_equal(n_gone, 2);
}

static void who_comes_sees_those_who_wait_anywhere(void **state)
{
	assert_false(waiting_has_line(&worker[0].room, LINE));
	wait_from(&worker[1], 0, 10, 1000);
	assert_true(waiting_has_line(&worker[0].room, LINE));
	assert_true(waiting_has_line(&worker[1].room, LINE));
	assert_false(waiting_has_line(&worker[0].room, LINE + 2));
	places = 1;
	look(&worker[1]);
	assert_false(waiting_has_line(&worker[0].room, LINE));
	assert_false(waiting_has_line(&worker[1].room, LINE));
}

static void only_workers_with_somebody_are_woken(void **state)
{
	waiting_wake(&worker[0].room);
	waiting_look(&worker[0].room);
	assert_false(was_woken(1));
	assert_false(worker[0].loop.busy);
	wait_from(&worker[1], 0, 10, 1000);
	waiting_wake(&worker[0].room);
	waiting_wake(&worker[0].room);
	assert_false(was_woken(1)); /* once in a turn */
	waiting_look(&worker[0].room);
	assert_true(was_woken(1));
	assert_false(worker[0].room.wanted);
	waiting_wake(&worker[1].room);
	assert_true(worker[1].room.wanted);
}

static void a_successor_keeps_the_order(void **state)
{
	struct waiting_room *room = &worker[0].room;

	wait_from(&worker[0], 0, 10, 10000);
	wait_from(&worker[0], 1, 30, 10000);
	wait_from(&worker[1], 0, 20, 10000);
	/* the worker is dead; what it said stands */
	waiting_room_forget(room);
	waiting_room_init(room, &worker[0].loop, trios, 2, 0, rearm_fds);
	waiting_room_inherit(room, 2);
	places = 3;
	look(&worker[1]);
	assert_int_equal(n_gone, 0);
	wait_from(&worker[0], 1, 30, 10000); /* the younger one is taken up first */
	look(&worker[0]);
	look(&worker[1]);
	assert_int_equal(n_gone, 0);
	wait_from(&worker[0], 0, 10, 10000);
	waiting_room_settle(room);
	assert_int_equal(atomic_load(&worker[0].trio->waiting), 2);
	for (int i = 0; i < 3; i++)
		look(&worker[i % 2]);
	assert_true(n_gone == 3 && gone[0] == 10 && gone[1] == 20 && gone[2] == 30);
}

static void a_successor_that_finds_none_of_them_says_so(void **state)
{
	wait_from(&worker[0], 0, 10, 10000);
	wait_from(&worker[1], 0, 20, 10000);
	waiting_room_forget(&worker[0].room);
	waiting_room_init(&worker[0].room, &worker[0].loop, trios, 2, 0, rearm_fds);
	waiting_room_inherit(&worker[0].room, 1);
	waiting_room_settle(&worker[0].room);
	places = 1;
	look(&worker[1]);
	assert_int_equal(n_gone, 1);
}

/* What another worker says may be anything: its table may be full. */
static void nonsense_of_another_worker_does_no_harm(void **state)
{
	struct trio_line *lines = trio_lines(worker[1].trio);

	atomic_store(&worker[1].trio->waiting, UINT32_MAX);
	for (uint32_t i = 0; i < TRIO_LINES; i++)
		lines[i] = (struct trio_line){.key = i + 7, .since_us = 1, .looked_ms = worker[0].loop.now_ms};
	wait_from(&worker[0], 0, 10, 10000);
	places = 1;
	look(&worker[0]);
	assert_int_equal(n_gone, 1);
}

/* ---- the pace ---- */

static void servers_that_fail_are_tried_at_a_pace(void **state)
{
	static const int64_t paces[] = {100, 200, 400, 800, 1000, 1000};
	struct waiting *w = &worker[0].waiting[0];
	struct waiting_room *room = &worker[0].room;

	wait_from(&worker[0], 0, 10, 100000);
	waiting_hopes(w, HOPE_SOME);
	for (size_t i = 0; i < ARRAY_LEN(paces); i++) {
		assert_true(waiting_may_try(w));
		waiting_failed(room, LINE);
		waiting_failed(room, LINE); /* another one, at the same time */
		worker[0].loop.now_ms += paces[i] - 1;
		waiting_hopes(w, HOPE_SOME);
		assert_false(waiting_may_try(w));
		worker[0].loop.now_ms++;
	}
	waiting_failed(room, LINE);
	waiting_hopes(w, HOPE_NONE);
	assert_false(waiting_may_try(w));
	waiting_hopes(w, HOPE_SOME); /* a check says that it is back */
	assert_true(waiting_may_try(w));
	waiting_failed(room, LINE);
	assert_false(waiting_may_try(w));
}

static void one_at_a_time_tries_unless_a_server_is_well(void **state)
{
	struct waiting *w = &worker[0].waiting[0];
	struct row *trying = trio_row(worker[0].trio, 1);

	wait_from(&worker[0], 0, 10, 100000);
	waiting_hopes(w, HOPE_SOME);
	trying->serial = 7;
	trying->state = ROW_CONNECTING;
	waiting_tries(&worker[0].room, LINE, trying);
	assert_false(waiting_may_try(w));
	waiting_hopes(w, HOPE_GOOD);
	assert_true(waiting_may_try(w));
	waiting_hopes(w, HOPE_SOME);
	assert_false(waiting_may_try(w));
	trying->serial = 8; /* it has ended, and another one has its row */
	assert_true(waiting_may_try(w));
}

static void one_message_a_second(void **state)
{
	assert_true(waiting_says(&worker[0].room, LINE));
	worker[0].loop.now_ms += 999;
	assert_false(waiting_says(&worker[0].room, LINE));
	assert_true(waiting_says(&worker[0].room, LINE + 2));
	worker[0].loop.now_ms += 1;
	assert_true(waiting_says(&worker[0].room, LINE));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(who_came_first_goes_first),
	        TEST(no_more_go_than_there_are_places),
	        TEST(who_finds_nothing_waits_on_and_is_asked_once),
	        TEST(how_long_it_has_waited_goes_on_over_several_waits),
	        TEST(its_time_and_an_error_end_it),
	        TEST(the_oldest_of_all_workers_goes_and_wakes_the_next),
	        TEST(one_that_does_not_look_is_passed_over),
	        TEST(who_comes_sees_those_who_wait_anywhere),
	        TEST(only_workers_with_somebody_are_woken),
	        TEST(a_successor_keeps_the_order),
	        TEST(a_successor_that_finds_none_of_them_says_so),
	        TEST(nonsense_of_another_worker_does_no_harm),
	        TEST(servers_that_fail_are_tried_at_a_pace),
	        TEST(one_at_a_time_tries_unless_a_server_is_well),
	        TEST(one_message_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
