/* Who has more than his share gives some away: the trios are this test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "os/sock.h"
#include "children/balance.h"
#include "children/workers.h"
#include "takeover/handover.h"

#define WORKERS 3

static struct loop loop;
static enum phase phase;
static struct workers workers;
static struct worker list[WORKERS];
static struct balance balance;
static struct world_fds world_fds;
static int theirs[WORKERS], memfds[WORKERS];
static int64_t now_ms = 1000000;

int64_t __wrap_clock_mono_ms(void);

int64_t __wrap_clock_mono_ms(void)
{
	return now_ms;
}

static void heard(void *arg, uint32_t events)
{
	(void)arg;
}

static int setup(void **state)
{
	memset(list, 0, sizeof(list));
	workers = (struct workers){.loop = &loop, .phase = &phase, .list = list, .n = WORKERS};
	phase = PHASE_SERVING;
	assert_int_equal(loop_init(&loop, -1, NULL, 16), 0);
	assert_int_equal(world_new(&workers.world, &world_fds), 0);
	for (uint32_t i = 0; i < WORKERS; i++) {
		int pair[2];

		memfds[i] = trio_new(i, 8, &list[i].trio);
		assert_true(memfds[i] >= 0);
		assert_int_equal(sock_message_pair(pair), 0);
		theirs[i] = pair[1];
		list[i].workers = &workers;
		list[i].number = i;
		list[i].memfd = memfds[i];
		list[i].adopted = true;
		outbox_init(&list[i].child.outbox, &loop, &list[i].child.control, NULL, NULL);
		assert_int_equal(watch_add(&loop, &list[i].child.control, pair[0], EPOLLIN, heard, NULL), 0);
		workers.trios[i] = list[i].trio;
	}
	balance_init(&balance, &workers);
	return 0;
}

static int teardown(void **state)
{
	for (uint32_t i = 0; i < WORKERS; i++) {
		int fd = list[i].child.control.fd;

		watch_remove(&loop, &list[i].child.control);
		close(fd);
		close(theirs[i]);
		close(memfds[i]);
		outbox_clear(&list[i].child.outbox);
		trio_unmap(list[i].trio);
	}
	world_unmap(workers.world);
	close(world_fds.said);
	close(world_fds.shared);
	loop_release(&loop);
	return 0;
}

static void have(uint32_t a, uint32_t b, uint32_t c)
{
	const uint32_t live[WORKERS] = {a, b, c};

	for (uint32_t i = 0; i < WORKERS; i++)
		atomic_store(&workers.world->live[i], live[i]);
}

static void pass(int64_t ms)
{
	now_ms += ms;
	assert_int_equal(loop_turn(&loop, 0), 0);
}

/* What it is told: WIRE_GIVE or WIRE_TAKE, which come with two descriptors; 0: nothing. *n: how many. */
static uint32_t told(uint32_t worker, uint32_t *n)
{
	struct wire w;
	size_t n_fds = 2;
	int fds[2], rc = sock_recv_message(theirs[worker], &w, sizeof(w), fds, &n_fds);

	if (rc == -EAGAIN)
		return 0;
	assert_int_equal(n_fds, 2);
	close(fds[0]);
	close(fds[1]);
	if (n)
		*n = w.ids[0];
	return w.type;
}

static void assert_nobody_is_told(void)
{
	for (uint32_t i = 0; i < WORKERS; i++)
		assert_int_equal(told(i, NULL), 0);
}

static void ask(void)
{
	balance_asked(&balance, false);
	pass(60000);
}

static void test_who_has_most_gives_half_the_difference_to_who_has_least(void **state)
{
	uint32_t n = 0;

	have(1000, 500, 200);
	ask();
	assert_int_equal(told(0, &n), WIRE_GIVE);
	assert_int_equal(n, 400);
	assert_int_equal(told(2, NULL), WIRE_TAKE);
	assert_nobody_is_told();
}

static void test_a_little_is_left_as_it_is(void **state)
{
	have(11, 10, 10);
	ask();
	assert_nobody_is_told();
}

static void test_one_at_a_time(void **state)
{
	have(1000, 0, 0);
	ask();
	assert_int_equal(told(0, NULL), WIRE_GIVE);
	told(1, NULL);
	told(2, NULL);
	balance_asked(&balance, false);
	assert_nobody_is_told();
	balance_done(&balance, 0, 500);
	have(500, 500, 0);
	ask();
	assert_int_equal(told(2, NULL), WIRE_TAKE);
}

/* It is stopped, or not ours yet. */
static void test_who_does_not_listen_gives_and_takes_nothing(void **state)
{
	have(1000, 500, 200);
	while (outbox_is_empty(&list[2].child.outbox))
		worker_send(&list[2], &(struct wire){.type = WIRE_KILL}, NULL, 0);
	ask();
	assert_int_equal(told(0, NULL), 0);
	outbox_clear(&list[2].child.outbox);
	list[0].adopted = false;
	ask();
	assert_int_equal(told(0, NULL), 0);
}

static void test_not_while_they_become_another_program_or_all_ends(void **state)
{
	have(1000, 0, 0);
	workers.rolling = true;
	ask();
	assert_nobody_is_told();
	workers.rolling = false;
	phase = PHASE_DRAINING;
	ask();
	assert_nobody_is_told();
}

static void busy(unsigned a, unsigned b, unsigned c)
{
	const unsigned percent[] = {a, b, c};

	for (uint32_t i = 0; i < WORKERS; i++) {
		atomic_store(&workers.world->load[i].percent, percent[i]);
		atomic_store(&workers.world->load[i].at_ms, now_ms + 1000);
	}
}

static void test_not_while_it_still_changes_quickly(void **state)
{
	have(1000, 0, 0);
	balance_asked(&balance, false);
	pass(999);
	assert_nobody_is_told();
	have(10, 10, 10); /* of that nothing is left */
	balance_asked(&balance, false);
	pass(1);
	assert_nobody_is_told();
	pass(60000);
	assert_nobody_is_told();
}

/* They all say it, and say it again. */
static void test_who_asks_once_more_does_not_put_it_off(void **state)
{
	have(1000, 0, 500);
	balance_asked(&balance, false);
	pass(900);
	balance_asked(&balance, false);
	pass(100);
	assert_int_equal(told(0, NULL), WIRE_GIVE);
	assert_int_equal(told(1, NULL), WIRE_TAKE);
}

static void test_more_than_a_little_is_evened_out(void **state)
{
	uint32_t n = 0;

	have(2, 10, 10);
	ask();
	assert_nobody_is_told();
	have(2, 10, 11);
	ask();
	assert_int_equal(told(2, &n), WIRE_GIVE);
	assert_int_equal(n, 4);
	assert_int_equal(told(0, NULL), WIRE_TAKE);
}

static void test_who_has_most_to_do_gives_some_of_that(void **state)
{
	struct wire w;
	size_t n_fds = 2;
	int fds[2];

	have(0, 1000, 500); /* that is not what is asked for */
	busy(91, 60, 60);
	balance_asked(&balance, true);
	pass(1000);
	assert_int_equal(sock_recv_message(theirs[0], &w, sizeof(w), fds, &n_fds), sizeof(w));
	assert_int_equal(w.type, WIRE_GIVE);
	assert_int_equal(w.give.quota, UINT32_MAX);
	assert_int_equal(w.give.which, LINK_BUSY);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(told(1, NULL), WIRE_TAKE);
	assert_nobody_is_told();
}

static void test_a_little_more_to_do_is_left_as_it_is(void **state)
{
	busy(90, 60, 60);
	balance_asked(&balance, true);
	pass(1000);
	assert_nobody_is_told();
}

static void test_who_has_not_measured_sleeps(void **state)
{
	busy(90, 10, 60);
	atomic_store(&workers.world->load[0].at_ms, now_ms - 5000);
	balance_asked(&balance, true);
	pass(1000);
	assert_int_equal(told(2, NULL), WIRE_GIVE);
	assert_int_equal(told(0, NULL), WIRE_TAKE);
}

static void test_of_one_that_is_never_through_no_more_is_expected(void **state)
{
	have(1000, 0, 500);
	balance_asked(&balance, false);
	pass(1000);
	assert_int_equal(told(0, NULL), WIRE_GIVE);
	told(1, NULL);
	pass(9999);
	balance_asked(&balance, false);
	assert_true(balance.under_way);
	pass(1);
	assert_false(balance.under_way);
	ask();
	assert_int_equal(told(0, NULL), WIRE_GIVE);
	assert_int_equal(told(1, NULL), WIRE_TAKE);
}

static void test_another_that_says_it_is_through_ends_nothing(void **state)
{
	have(1000, 0, 500);
	balance_done(&balance, 0, 3); /* nothing is under way */
	ask();
	told(0, NULL);
	told(1, NULL);
	balance.under_way = true;
	balance_done(&balance, 2, 7);
	assert_true(balance.under_way);
	balance_done(&balance, 0, 0);
	assert_false(balance.under_way);
	assert_int_equal(balance.timer.place, 0);
}

static void test_one_alone_has_nobody_to_give_to(void **state)
{
	have(1000, 0, 0);
	workers.n = 1;
	balance_asked(&balance, false);
	assert_int_equal(balance.timer.place, 0);
	workers.n = WORKERS;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(who_has_most_gives_half_the_difference_to_who_has_least),
	        TEST(a_little_is_left_as_it_is),
	        TEST(more_than_a_little_is_evened_out),
	        TEST(not_while_it_still_changes_quickly),
	        TEST(who_asks_once_more_does_not_put_it_off),
	        TEST(who_has_most_to_do_gives_some_of_that),
	        TEST(a_little_more_to_do_is_left_as_it_is),
	        TEST(who_has_not_measured_sleeps),
	        TEST(of_one_that_is_never_through_no_more_is_expected),
	        TEST(another_that_says_it_is_through_ends_nothing),
	        TEST(one_alone_has_nobody_to_give_to),
	        TEST(one_at_a_time),
	        TEST(who_does_not_listen_gives_and_takes_nothing),
	        TEST(not_while_they_become_another_program_or_all_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
