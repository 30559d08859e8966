/* The parts of a tap, and what a worker is told of it. */
#include "fake_workers.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/ring.h"
#include "base/tap.h"
#include "children/tap.h"
#include "os/shm.h"
#include "os/sock.h"

static int fds[SOCK_MAX_FDS + 1];

static int setup(void **state)
{
	fixture_begin();
	fake_workers_begin();
	return 0;
}

static int teardown(void **state)
{
	fake_workers_end();
	fixture_end();
	return 0;
}

static void close_all(int n)
{
	for (int i = 0; i <= n; i++)
		close(fds[i]);
}

static void test_each_worker_has_a_ring(void **state)
{
	assert_int_equal(tap_new(3, fds), 4);
	for (int i = 1; i < 4; i++) {
		struct ring *ring = shm_map(fds[i], ring_size(TAP_RING));

		assert_non_null(ring);
		assert_true(ring_put(ring, TAP_RING, 1, "x", 1));
		munmap(ring, ring_size(TAP_RING));
	}
	close_all(4);
}

static void test_the_reader_is_woken_until_the_last_worker_has_gone(void **state)
{
	int worker;
	char c;

	assert_int_equal(tap_new(1, fds), 2);
	worker = dup(fds[2]);
	close(fds[2]);
	assert_int_equal(sock_recv(fds[0], &c, 1, 0), -EAGAIN);
	assert_int_equal(sock_send(worker, "x", 1, 0), 1);
	assert_int_equal(sock_recv(fds[0], &c, 1, 0), 1);
	close(worker);
	assert_int_equal(sock_recv(fds[0], &c, 1, 0), 0);
	close_all(1);
}

/* As many as one message can hold. */
static void test_of_very_many_workers_the_first_have_one(void **state)
{
	assert_int_equal(tap_new(WORLD_WORKERS, fds), SOCK_MAX_FDS);
	close_all(SOCK_MAX_FDS);
}

static void test_where_a_descriptor_is_missing_nothing_stays_open(void **state)
{
	unsigned before = fds_open();

	for (int room = 0; room < 5; room++) {
		leave_room(room);
		assert_int_equal(tap_new(3, fds), -EMFILE);
		leave_room(-1);
		assert_int_equal(fds_open(), before);
	}
	leave_room(5);
	assert_int_equal(tap_new(3, fds), 4);
	close_all(4);
}

static void test_no_number_comes_twice(void **state)
{
	uint64_t last = 0;

	for (int i = 0; i < 1000; i++) {
		uint64_t number = tap_number();

		assert_true(number > last);
		last = number;
	}
}

static void test_a_worker_gets_its_ring_and_what_to_look_at(void **state)
{
	const struct tap_filter filter = {.target = 5};
	int got[SOCK_MAX_FDS];
	struct wire w;
	size_t n;

	fake_workers_serve(2);
	assert_int_equal(tap_new(2, fds), 3);
	tap_tell(&workers.list[1], 4711, &filter, fds[3], fds[2]);
	assert_string_equal(read_all(theirs[0]), "");
	assert_true(read_one(theirs[1], &w, got, &n));
	assert_int_equal(w.type, WIRE_TAP);
	assert_int_equal(w.number, 4711);
	assert_memory_equal(&w.filter, &filter, sizeof(filter));
	assert_int_equal(n, 2);
	assert_true(sock_is_stream(got[0]));
	assert_true(shm_is_fixed(got[1], ring_size(TAP_RING)));
	close(got[0]);
	close(got[1]);
	close_all(3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(each_worker_has_a_ring),
	        TEST(the_reader_is_woken_until_the_last_worker_has_gone),
	        TEST(of_very_many_workers_the_first_have_one),
	        TEST(where_a_descriptor_is_missing_nothing_stays_open),
	        TEST(no_number_comes_twice),
	        TEST(a_worker_gets_its_ring_and_what_to_look_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
