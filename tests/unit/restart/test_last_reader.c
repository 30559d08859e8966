/* Who writes to the log what the trios of the old program say until they have ended. */
#include "fixture.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "ipc/saying.h"
#include "os/sock.h"
#include "restart/last_reader.h"

static pid_t reader, members[FIXTURE_WORKERS];

static void read_last(void)
{
	last_reader_run(&children);
}

static int setup(void **state)
{
	fixture_setup(state);
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		children.workers.list[i].trio->pid[MEMBER_KEEPER1] = members[i] = fixture_sleeper();
	return 0;
}

static void begin(void)
{
	reader = fixture_fork(read_last);
}

static void wake(uint32_t worker)
{
	uint64_t one = 1;

	assert_int_equal(write(children.workers.list[worker].wake_fd, &one, sizeof(one)), sizeof(one));
}

static void end_worker(uint32_t worker)
{
	fixture_kill(members[worker]);
	wake(worker);
}

static void expect_end(void)
{
	assert_int_equal(fixture_end_of(reader), 0);
}

static void end_all(void)
{
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		end_worker(i);
	expect_end();
}

static void test_what_stands_there_is_written(void **state)
{
	fixture_write_line(1, "of before");
	begin();
	UNTIL(strstr(fixture_logged(), "info of before\n"));
	end_all();
}

static void test_what_comes_is_written(void **state)
{
	begin();
	UNTIL(atomic_load(&children.workers.list[0].trio->reader_waits));
	fixture_write_line(0, "it goes on");
	wake(0);
	UNTIL(strstr(fixture_logged(), "info it goes on\n"));
	end_all();
}

/* Else nobody wakes it. */
static void test_it_says_that_it_waits(void **state)
{
	begin();
	for (int i = 0; i < 2; i++) {
		UNTIL(atomic_load(&children.workers.list[1].trio->reader_waits));
		atomic_store(&children.workers.list[1].trio->reader_waits, 0);
		wake(1);
	}
	end_all();
}

static void expect_end_with(uint32_t last)
{
	begin();
	end_worker(1 - last);
	for (int i = 0; i < 3; i++) {
		atomic_store(&children.workers.list[last].trio->reader_waits, 0);
		wake(last);
		UNTIL(atomic_load(&children.workers.list[last].trio->reader_waits));
	}
	fixture_write_line(last, "one is left");
	wake(last);
	UNTIL(strstr(fixture_logged(), "one is left"));
	assert_true(fixture_runs(reader));
	end_worker(last);
	expect_end();
}

static void test_it_ends_with_the_last_of_them(void **state)
{
	expect_end_with(1);
}

static void test_whichever_that_is(void **state)
{
	expect_end_with(0);
}

/* It was put into the ring before the end. */
static void test_last_words_are_written(void **state)
{
	for (uint32_t i = 0; i < FIXTURE_WORKERS; i++)
		fixture_kill(members[i]);
	fixture_write_line(0, "the end of one");
	fixture_write_line(1, "the end of another");
	begin();
	expect_end();
	assert_non_null(strstr(fixture_logged(), "the end of one\n"));
	assert_non_null(strstr(fixture_logged(), "the end of another\n"));
}

/* As the next one has it: what the programs say that the old spawner has started comes by that. */
static void test_the_spawner_is_heard(void **state)
{
	struct said m = {.wire.type = WIRE_LINE, .line.level = LOG_LEVEL_INFO, .line.text = "handler /x: hello"};
	size_t len = offsetof(struct said, line.text) + strlen(m.line.text);

	assert_int_equal(sock_send_message(spawner_theirs, &m, len, NULL, 0), 0);
	begin();
	UNTIL(strstr(fixture_logged(), "handler /x: hello"));
	end_all();
}

static void test_a_spawner_that_ends_ends_nothing(void **state)
{
	begin();
	close(spawner_theirs);
	spawner_theirs = -1;
	for (int i = 0; i < 3; i++) {
		atomic_store(&children.workers.list[0].trio->reader_waits, 0);
		wake(0);
		UNTIL(atomic_load(&children.workers.list[0].trio->reader_waits));
	}
	end_all();
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(what_stands_there_is_written),
	        TEST(what_comes_is_written),
	        TEST(it_says_that_it_waits),
	        TEST(it_ends_with_the_last_of_them),
	        TEST(whichever_that_is),
	        TEST(last_words_are_written),
	        TEST(the_spawner_is_heard),
	        TEST(a_spawner_that_ends_ends_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
