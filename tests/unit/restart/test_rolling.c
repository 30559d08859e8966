/* Trios become the program that the supervisor is, one after the other: the trios are this test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "os/sock.h"
#include "restart/rolling.h"

#define WORKERS 3

static struct loop loop;
static struct workers workers;
static struct worker list[WORKERS];
static struct rolling rolling;
static struct trio *trios[WORKERS];
static struct world_fds world_fds;
static int theirs[WORKERS];
static int64_t now_ms = 1000000;
static char log_text[1000], over_text[200];
static int over;

int64_t __wrap_clock_mono_ms(void);

int64_t __wrap_clock_mono_ms(void)
{
	return now_ms;
}

static void take_line(void *arg, enum log_level level, const char *line)
{
	size_t len = strlen(log_text);

	snprintf(log_text + len, sizeof(log_text) - len, "%s\n", line);
}

static void take_over(void *arg, const char *text)
{
	over++;
	snprintf(over_text, sizeof(over_text), "%s", text);
}

static void heard(void *arg, uint32_t ev)
{
	(void)arg;
}

static int setup(void **state)
{
	memset(list, 0, sizeof(list));
	workers = (struct workers){.loop = &loop, .list = list, .n = WORKERS};
	rolling = (struct rolling){.workers = &workers};
	*log_text = *over_text = '\0';
	over = 0;
	log_set_sink(take_line, NULL);
	assert_int_equal(loop_init(&loop, -1, NULL, 16), 0);
	assert_int_equal(world_new(&workers.world, &world_fds), 0);
	for (uint32_t i = 0; i < WORKERS; i++) {
		int pair[2], memfd = trio_new(i, 8, &trios[i]);

		assert_true(memfd >= 0);
		close(memfd);
		assert_int_equal(sock_message_pair(pair), 0);
		theirs[i] = pair[1];
		list[i] = (struct worker){.workers = &workers, .number = i, .trio = trios[i], .adopted = true};
		outbox_init(&list[i].child.outbox, &loop, &list[i].child.control, NULL, NULL);
		assert_int_equal(watch_add(&loop, &list[i].child.control, pair[0], EPOLLIN, heard, NULL), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	for (uint32_t i = 0; i < WORKERS; i++) {
		int fd = list[i].child.control.fd;

		watch_remove(&loop, &list[i].child.control);
		close(fd);
		close(theirs[i]);
		outbox_clear(&list[i].child.outbox);
		trio_unmap(trios[i]);
	}
	timer_clear(&loop, &rolling.timer);
	world_unmap(workers.world);
	close(world_fds.said);
	close(world_fds.shared);
	loop_release(&loop);
	return 0;
}

static void pass(int64_t ms)
{
	now_ms += ms;
	assert_int_equal(loop_turn(&loop, 0), 0);
}

/* Has it been told to become a program? */
static bool is_told(uint32_t worker)
{
	struct wire w;
	size_t n = 1;
	int fd, rc = sock_recv_message(theirs[worker], &w, sizeof(w), &fd, &n);

	if (rc == -EAGAIN)
		return false;
	assert_int_equal(w.type, WIRE_REEXEC);
	assert_int_equal(n, 1);
	close(fd);
	return true;
}

static void become(uint32_t worker)
{
	atomic_fetch_add(&trios[worker]->reexecs, 1);
	pass(10);
}

static void test_one_after_the_other(void **state)
{
	rolling_begin(&rolling, "upgrade", take_over, NULL);
	for (uint32_t i = 0; i < WORKERS; i++) {
		assert_int_equal(over, 0);
		assert_true(workers.rolling);
		for (uint32_t k = 0; k < WORKERS; k++)
			assert_int_equal(is_told(k), k == i);
		pass(100);
		become(i);
	}
	assert_int_equal(over, 1);
	assert_false(workers.rolling);
	assert_non_null(strstr(over_text, "3 of 3 workers run it"));
}

/* Its keepers compare what they execute with that. */
static void test_the_program_is_named_in_memory_that_no_worker_can_write(void **state)
{
	const struct program_id none = {0};

	rolling_begin(&rolling, "upgrade", take_over, NULL);
	assert_memory_not_equal(&workers.world->program, &none, sizeof(none));
}

static void test_one_that_fails_keeps_nobody(void **state)
{
	rolling_begin(&rolling, "upgrade", take_over, NULL);
	become(0);
	assert_true(is_told(1));
	atomic_fetch_add(&trios[1]->reexecs_failed, 1);
	pass(10);
	assert_true(is_told(2));
	become(2);
	assert_int_equal(over, 1);
	assert_non_null(strstr(over_text, "2 of 3 workers run it"));
	assert_non_null(strstr(log_text, "worker 1 goes on with the old program: the new one has ended"));
}

/* The primary that has become it, and does not commit itself, is ended: the old spare goes on. */
static void test_one_that_takes_too_long_is_brought_back(void **state)
{
	pid_t primary = fork();
	int status;

	if (primary == 0)
		for (;;)
			pause();
	rolling_begin(&rolling, "upgrade", take_over, NULL);
	trios[0]->pid[MEMBER_KEEPER1] = primary;
	atomic_store(&trios[0]->primary, MEMBER_KEEPER1);
	atomic_store(&trios[0]->reexec, REEXEC_WANTED);
	pass(4999);
	assert_int_equal(waitpid(primary, &status, WNOHANG), 0);
	assert_false(is_told(1));
	pass(10);
	assert_int_equal(waitpid(primary, &status, 0), primary);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_true(is_told(1));
	assert_non_null(strstr(log_text, "worker 0 does not become the new program"));
}

/* A trio may say of any process that it is its primary. */
static void test_none_of_ours_is_ended_for_it(void **state)
{
	rolling_begin(&rolling, "upgrade", take_over, NULL);
	trios[0]->pid[MEMBER_KEEPER0] = getpid();
	atomic_store(&trios[0]->reexec, REEXEC_WANTED);
	pass(5001);
	trios[1]->pid[MEMBER_KEEPER0] = 1;
	atomic_store(&trios[1]->reexec, REEXEC_WANTED);
	atomic_store(&trios[1]->primary, 4711);
	pass(5001);
	assert_true(is_told(2));
}

static void test_one_whose_keepers_may_execute_nothing_is_left_as_it_is(void **state)
{
	atomic_store(&trios[0]->confined, 1);
	rolling_begin(&rolling, "upgrade", take_over, NULL);
	assert_false(is_told(0));
	assert_true(is_told(1));
	assert_non_null(strstr(log_text, "worker 0 goes on with the old program: both its keepers had died at once"));
}

static void test_a_restart_tells_no_asker(void **state)
{
	rolling_begin(&rolling, "restart", NULL, NULL);
	for (uint32_t i = 0; i < WORKERS; i++)
		become(i);
	assert_int_equal(over, 0);
	assert_non_null(strstr(log_text, "restart: done: "));
}

static int start_never(void *arg)
{
	return -EAGAIN;
}

/* When it begins, it begins as this program. */
static void test_one_that_is_not_there_is_left_out(void **state)
{
	again_init(&list[1].child.again, &loop, start_never, NULL, "worker 1");
	again_start_at(&list[1].child.again, now_ms + 1000000);
	rolling_begin(&rolling, "upgrade", take_over, NULL);
	become(0);
	assert_false(is_told(1));
	assert_true(is_told(2));
	assert_null(strstr(log_text, "worker 1"));
	become(2);
	assert_non_null(strstr(over_text, "2 of 3 workers run it"));
	again_cancel(&list[1].child.again);
}

static void test_where_all_are_left_out_it_is_over_at_once(void **state)
{
	for (uint32_t i = 0; i < WORKERS; i++)
		atomic_store(&trios[i]->confined, 1);
	rolling_begin(&rolling, "upgrade", take_over, NULL);
	assert_int_equal(over, 1);
	assert_false(workers.rolling);
	assert_non_null(strstr(over_text, "0 of 3 workers run it"));
}

/* It has done so already, or has not begun. */
static void test_one_that_has_not_begun_is_not_ended(void **state)
{
	pid_t primary = fork();
	int status;

	if (primary == 0)
		for (;;)
			pause();
	rolling_begin(&rolling, "upgrade", take_over, NULL);
	trios[0]->pid[MEMBER_KEEPER0] = primary;
	pass(5001);
	assert_true(is_told(1));
	kill(primary, SIGTERM); /* of which it dies, if not of something else before */
	waitpid(primary, &status, 0);
	assert_int_equal(status, SIGTERM);
}

static void test_those_that_are_of_this_program_need_not(void **state)
{
	rolling_need_not(&rolling, "upgrade", take_over, NULL);
	assert_int_equal(over, 1);
	assert_non_null(strstr(over_text, "3 of 3 workers run it"));
	assert_false(workers.rolling);
	assert_false(is_told(0));
}

/* What the trios have become before does not count. */
static void test_it_can_be_done_again(void **state)
{
	for (int round = 1; round <= 2; round++) {
		rolling_begin(&rolling, "upgrade", take_over, NULL);
		for (uint32_t i = 0; i < WORKERS; i++) {
			pass(100);
			assert_int_equal(over, round - 1);
			assert_true(is_told(i));
			become(i);
		}
		assert_int_equal(over, round);
		assert_non_null(strstr(over_text, "3 of 3 workers run it"));
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(one_after_the_other),
	        TEST(the_program_is_named_in_memory_that_no_worker_can_write),
	        TEST(one_that_fails_keeps_nobody),
	        TEST(one_that_takes_too_long_is_brought_back),
	        TEST(none_of_ours_is_ended_for_it),
	        TEST(one_whose_keepers_may_execute_nothing_is_left_as_it_is),
	        TEST(a_restart_tells_no_asker),
	        TEST(one_that_is_not_there_is_left_out),
	        TEST(where_all_are_left_out_it_is_over_at_once),
	        TEST(one_that_has_not_begun_is_not_ended),
	        TEST(those_that_are_of_this_program_need_not),
	        TEST(it_can_be_done_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
