/* Messages to a process that does not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "ipc/outbox.h"

static struct loop loop;
static struct watch watch;
static struct outbox box;
static int other;
static unsigned emptied, told;

static int refusal; /* -errno of every send; 0: none */
static unsigned flushed;

int __real_sock_send_message(int fd, const void *data, size_t len, const int *fds, size_t n_fds);
int __wrap_sock_send_message(int fd, const void *data, size_t len, const int *fds, size_t n_fds);

int __wrap_sock_send_message(int fd, const void *data, size_t len, const int *fds, size_t n_fds)
{
	return refusal ? refusal : __real_sock_send_message(fd, data, len, fds, n_fds);
}

static void heard(void *arg, uint32_t events)
{
	flushed++;
	if (events & EPOLLOUT)
		outbox_flush(&box);
}

static void note_emptied(void *arg)
{
	emptied++;
	told += outbox_is_empty(&box);
}

static int setup(void **state)
{
	int pair[2];

	assert_int_equal(loop_init(&loop, -1, NULL, 8), 0);
	assert_int_equal(sock_message_pair(pair), 0);
	other = pair[1];
	emptied = told = flushed = 0;
	refusal = 0;
	assert_int_equal(watch_add(&loop, &watch, pair[0], EPOLLIN, heard, NULL), 0);
	outbox_init(&box, &loop, &watch, note_emptied, NULL);
	return 0;
}

static int teardown(void **state)
{
	int fd = watch.fd;

	outbox_clear(&box);
	watch_remove(&loop, &watch);
	close(fd);
	close(other);
	loop_release(&loop);
	return 0;
}

static int say(enum wire_type type, uint64_t number)
{
	return outbox_send(&box, &(struct wire){.type = type, .generation = number}, NULL, 0);
}

/* Until something waits. Returns how many were sent. */
static uint64_t fill(void)
{
	uint64_t n = 0;

	while (outbox_is_empty(&box))
		assert_int_equal(say(WIRE_KILL, ++n), 0);
	return n;
}

static uint64_t next(uint32_t type)
{
	struct wire w;

	while (sock_recv_message(other, &w, sizeof(w), NULL, NULL) == -EAGAIN)
		assert_int_equal(loop_turn(&loop, 1000), 0);
	assert_int_equal(w.type, type);
	return w.generation;
}

static void test_what_fits_is_sent_at_once(void **state)
{
	say(WIRE_KILL, 1);
	assert_true(outbox_is_empty(&box));
	assert_int_equal(next(WIRE_KILL), 1);
	assert_int_equal(emptied, 0);
}

static void test_what_does_not_fit_comes_later_in_order(void **state)
{
	uint64_t n = fill();

	for (uint64_t i = n + 1; i <= n + 50; i++)
		assert_int_equal(say(WIRE_KILL, i), 0);
	for (uint64_t i = 1; i <= n + 50; i++)
		assert_int_equal(next(WIRE_KILL), i);
	assert_true(outbox_is_empty(&box));
	assert_int_equal(emptied, 1);
	assert_int_equal(told, 1);
	say(WIRE_KILL, 7);
	assert_int_equal(next(WIRE_KILL), 7);
}

static void test_the_latest_takes_the_place_of_what_it_supersedes(void **state)
{
	uint64_t n = fill();

	say(WIRE_TCP_INFO, 1);
	say(WIRE_KILL, n + 1);
	for (uint64_t i = 2; i < 1000; i++)
		assert_int_equal(say(WIRE_TCP_INFO, i), 0);
	for (uint64_t i = 1; i <= n; i++)
		next(WIRE_KILL);
	assert_int_equal(next(WIRE_TCP_INFO), 999);
	assert_int_equal(next(WIRE_KILL), n + 1);
}

static void test_channels_of_different_trios_are_different(void **state)
{
	uint64_t n = fill();

	say(WIRE_CHANNEL, 0);
	say(WIRE_CHANNEL, 1);
	say(WIRE_CHANNEL, 0);
	while (n-- > 0)
		next(WIRE_KILL);
	assert_int_equal(next(WIRE_CHANNEL), 0);
	assert_int_equal(next(WIRE_CHANNEL), 1);
	assert_int_equal(sock_recv_message(other, &n, sizeof(n), NULL, NULL), -EAGAIN);
}

/* Too many descriptors are under way: no event tells when that is over, and there is room in the socket meanwhile. */
static void test_what_passes_without_an_event_is_tried_again(void **state)
{
	refusal = -ETOOMANYREFS;
	assert_int_equal(say(WIRE_KILL, 1), 0);
	assert_int_equal(say(WIRE_KILL, 2), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_turn(&loop, 5), 0);
	assert_int_equal(flushed, 0);
	assert_false(outbox_is_empty(&box));
	refusal = 0;
	assert_int_equal(next(WIRE_KILL), 1);
	assert_int_equal(next(WIRE_KILL), 2);
	assert_int_equal(emptied, 1);
}

/* Also when there was no room first. */
static void test_a_queue_may_find_that_too(void **state)
{
	uint64_t n = fill();
	unsigned before;

	refusal = -ETOOMANYREFS;
	for (uint64_t i = 1; i < n; i++) {
		struct wire w;

		assert_int_equal(sock_recv_message(other, &w, sizeof(w), NULL, NULL), sizeof(w));
	}
	assert_int_equal(loop_turn(&loop, 100), 0);
	before = flushed;
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_turn(&loop, 5), 0);
	assert_int_equal(flushed, before);
	refusal = 0;
	assert_int_equal(next(WIRE_KILL), n);
}

static void test_descriptors_wait_as_copies(void **state)
{
	uint64_t n = fill();
	int pipe_ends[2], fd;
	size_t n_fds = 1;
	struct wire w;

	assert_int_equal(pipe(pipe_ends), 0);
	assert_int_equal(outbox_send(&box, &(struct wire){.type = WIRE_REEXEC}, &pipe_ends[1], 1), 0);
	assert_int_equal(outbox_send(&box, &(struct wire){.type = WIRE_REEXEC}, &pipe_ends[1], 1), 0);
	close(pipe_ends[1]);
	while (n-- > 0)
		next(WIRE_KILL);
	while (sock_recv_message(other, &w, sizeof(w), &fd, &n_fds) == -EAGAIN) {
		n_fds = 1;
		assert_int_equal(loop_turn(&loop, 1000), 0);
	}
	assert_int_equal(n_fds, 1);
	close(fd);
	assert_int_equal(read(pipe_ends[0], &fd, 1), 0); /* nobody has another copy */
	close(pipe_ends[0]);
}

static void test_it_is_bounded(void **state)
{
	fill();
	for (int i = 1; i < OUTBOX_MAX; i++)
		assert_int_equal(say(WIRE_KILL, 0), 0);
	assert_int_equal(say(WIRE_KILL, 0), -ENOBUFS);
	assert_int_equal(say(WIRE_TCP_INFO, 0), -ENOBUFS);
}

static void test_nobody_is_there(void **state)
{
	static struct outbox none;

	assert_int_equal(outbox_send(&none, &(struct wire){.type = WIRE_STOP}, NULL, 0), -EPIPE);
	outbox_clear(&none);
	close(other);
	assert_int_equal(say(WIRE_STOP, 0), -EPIPE);
	other = -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(what_fits_is_sent_at_once),
	        TEST(what_does_not_fit_comes_later_in_order),
	        TEST(the_latest_takes_the_place_of_what_it_supersedes),
	        TEST(channels_of_different_trios_are_different),
	        TEST(descriptors_wait_as_copies),
	        TEST(what_passes_without_an_event_is_tried_again),
	        TEST(a_queue_may_find_that_too),
	        TEST(it_is_bounded),
	        TEST(nobody_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
