/* Messages through shared memory: in order, whole, never twice to a reader that lives, and
 * nothing that a writer leaves there leads the reader out of the ring. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/ring.h"

#define CAPACITY 4096
#define PAGE     4096

/* The ring ends at a page that cannot be read, so a step beyond it ends the test. */
struct place {
	unsigned char *map;
	size_t map_len;
	struct ring *ring;
	unsigned char *bytes; /* the ring as bytes */
};

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	size_t size = ring_size(CAPACITY);
	size_t pages = (size + PAGE - 1) / PAGE * PAGE;

	p->map_len = pages + PAGE;
	p->map = mmap(NULL, p->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(p->map, MAP_FAILED);
	assert_int_equal(mprotect(p->map + pages, PAGE, PROT_NONE), 0);
	p->bytes = p->map + pages - size;
	p->ring = ring_init(p->bytes, CAPACITY);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;

	munmap(p->map, p->map_len);
	free(p);
	return 0;
}

static void expect_message(struct ring *r, uint32_t want_type, const void *want, size_t want_len)
{
	const void *data;
	uint32_t type;
	size_t len;

	assert_true(ring_peek(r, CAPACITY, &type, &data, &len));
	assert_int_equal(type, want_type);
	assert_int_equal(len, want_len);
	assert_memory_equal(data, want, want_len);
}

static bool is_empty(struct ring *r)
{
	const void *data;
	uint32_t type;
	size_t len;

	return !ring_peek(r, CAPACITY, &type, &data, &len);
}

static void test_in_order(void **state)
{
	struct ring *r = ((struct place *)*state)->ring;

	assert_true(is_empty(r));
	assert_true(ring_empty(r));
	ring_drop(r, CAPACITY); /* nothing there: nothing happens */
	assert_true(ring_put(r, CAPACITY, 7, "first", 5));
	assert_true(ring_put(r, CAPACITY, 8, NULL, 0));
	assert_false(ring_empty(r));
	expect_message(r, 7, "first", 5);
	expect_message(r, 7, "first", 5); /* a reader that died sees it again */
	ring_drop(r, CAPACITY);
	expect_message(r, 8, "", 0);
	ring_drop(r, CAPACITY);
	assert_true(ring_empty(r));
	assert_int_equal(ring_take_lost(r), 0);
}

static void fill(unsigned char *data, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (unsigned char)(seed * 31 + i);
}

/* Every length at every place: many rounds, the ring never quite empty. */
static void test_wraps_whole(void **state)
{
	struct ring *r = ((struct place *)*state)->ring;
	unsigned char data[CAPACITY / 4];
	unsigned put = 0, got = 0;

	while (put < 20000) {
		size_t len = put * 7919 % (sizeof(data) + 1);

		fill(data, len, put);
		if (ring_put(r, CAPACITY, put, data, len)) {
			put++;
			continue;
		}
		assert_int_equal(ring_take_lost(r), 1);
		len = got * 7919 % (sizeof(data) + 1);
		fill(data, len, got);
		expect_message(r, got++, data, len);
		ring_drop(r, CAPACITY);
	}
}

static void test_full_refuses_and_counts(void **state)
{
	struct ring *r = ((struct place *)*state)->ring;
	unsigned put = 0;

	while (ring_put(r, CAPACITY, put, &put, sizeof(put)))
		put++;
	assert_int_equal(put, CAPACITY / 16);
	assert_false(ring_put(r, CAPACITY, 0, NULL, 0));
	assert_int_equal(ring_take_lost(r), 2);
	assert_int_equal(ring_take_lost(r), 0);
	for (unsigned got = 0; got < put; got++) {
		expect_message(r, got, &got, sizeof(got));
		ring_drop(r, CAPACITY);
	}
	assert_true(ring_put(r, CAPACITY, 1, "again", 5));
	expect_message(r, 1, "again", 5);
}

static void test_too_large(void **state)
{
	struct ring *r = ((struct place *)*state)->ring;
	unsigned char data[CAPACITY / 4 + 1] = {1};

	assert_false(ring_put(r, CAPACITY, 1, data, sizeof(data)));
	assert_false(ring_put(r, CAPACITY, 1, data, SIZE_MAX));
	assert_int_equal(ring_take_lost(r), 2);
	assert_true(ring_put(r, CAPACITY, 1, data, sizeof(data) - 1));
	expect_message(r, 1, data, sizeof(data) - 1);
}

/* A writer that dies in the middle of its bytes: its index was not stored. */
static void test_writer_dies_before_the_index(void **state)
{
	struct place *p = *state;
	unsigned char *unmapped = p->map + p->map_len - PAGE;
	pid_t pid;
	int status;

	assert_true(ring_put(p->ring, CAPACITY, 1, "whole", 5));
	pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL); /* cmocka catches it */
		/* the copy begins and then meets bytes that are not there */
		ring_put(p->ring, CAPACITY, 2, unmapped - 64, 128);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	expect_message(p->ring, 1, "whole", 5);
	ring_drop(p->ring, CAPACITY);
	assert_true(is_empty(p->ring));
	assert_true(ring_put(p->ring, CAPACITY, 3, "next writer", 11));
	expect_message(p->ring, 3, "next writer", 11);
	assert_int_equal(ring_take_lost(p->ring), 0);
}

/* Two processes at once: everything arrives once, in order, as it was written. */
static void test_two_processes(void **state)
{
	struct ring *r = ((struct place *)*state)->ring;
	enum { MESSAGES = 100000 };
	unsigned char data[256];
	unsigned got = 0;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(60);
		for (unsigned i = 0; i < MESSAGES; i++) {
			fill(data, i % sizeof(data), i);
			while (!ring_put(r, CAPACITY, i, data, i % sizeof(data)))
				sched_yield();
		}
		_exit(0);
	}
	while (got < MESSAGES) {
		const void *found;
		uint32_t type;
		size_t len;

		if (!ring_peek(r, CAPACITY, &type, &found, &len)) {
			if (ring_empty(r) && waitpid(pid, NULL, WNOHANG) == pid && ring_empty(r))
				break;
			sched_yield();
			continue;
		}
		fill(data, got % sizeof(data), got);
		expect_message(r, got, data, got % sizeof(data));
		ring_drop(r, CAPACITY);
		got++;
	}
	assert_int_equal(got, MESSAGES);
	waitpid(pid, NULL, 0);
}

/* ---- a writer that leaves nonsense ---- */

static void expect_recovery(struct place *p)
{
	assert_true(is_empty(p->ring));
	assert_int_not_equal(ring_take_lost(p->ring), 0);
	assert_true(ring_empty(p->ring));
	assert_true(ring_put(p->ring, CAPACITY, 5, "after", 5));
	expect_message(p->ring, 5, "after", 5);
}

static uint32_t *length_of_first(struct place *p)
{
	return (uint32_t *)(p->bytes + ring_size(CAPACITY) - CAPACITY);
}

static void test_spoiled_length(void **state)
{
	static const uint32_t lengths[] = {9, 100, CAPACITY / 4 + 1, CAPACITY, INT32_MAX, UINT32_MAX};
	struct place *p = *state;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(p->bytes, 0, ring_size(CAPACITY));
		ring_init(p->bytes, CAPACITY);
		assert_true(ring_put(p->ring, CAPACITY, 1, "abc", 3));
		*length_of_first(p) = lengths[i];
		expect_recovery(p);
	}
}

static void test_spoiled_type(void **state)
{
	struct place *p = *state;

	assert_true(ring_put(p->ring, CAPACITY, 1, "abc", 3));
	assert_true(ring_put(p->ring, CAPACITY, 2, "def", 3));
	ring_drop(p->ring, CAPACITY);
	length_of_first(p)[5] = UINT32_MAX; /* "skip to the end", which was not written yet */
	expect_recovery(p);
}

/* The writer's index stands first in the ring. */
static void test_spoiled_index(void **state)
{
	static const uint64_t heads[] = {1, 13, 8, CAPACITY + 8, 1ULL << 40, UINT64_MAX, UINT64_MAX - 7};
	struct place *p = *state;

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		memset(p->bytes, 0, ring_size(CAPACITY));
		ring_init(p->bytes, CAPACITY);
		assert_true(ring_put(p->ring, CAPACITY, 1, "0123456789abcdef", 16));
		memcpy(p->bytes, &heads[i], sizeof(heads[i]));
		expect_recovery(p);
	}
}

static void test_length_spoiled_between_peek_and_drop(void **state)
{
	struct place *p = *state;

	assert_true(ring_put(p->ring, CAPACITY, 1, "abc", 3));
	expect_message(p->ring, 1, "abc", 3);
	*length_of_first(p) = UINT32_MAX - 7;
	ring_drop(p->ring, CAPACITY);
	expect_recovery(p);
}

/* Any byte of the ring may hold anything, its indices and its capacity too: the reader stays inside
 * (the page behind the ring would kill it) and comes to an end. */
static void test_random_nonsense(void **state)
{
	struct place *p = *state;
	size_t heads = ring_size(CAPACITY) - CAPACITY + 64;

	srandom(1);
	for (int round = 0; round < 20000; round++) {
		unsigned steps = 0;

		memset(p->bytes, 0, ring_size(CAPACITY));
		ring_init(p->bytes, CAPACITY);
		for (int i = 0; i < 40; i++)
			ring_put(p->ring, CAPACITY, 1, "0123456789", 10);
		for (int i = 0; i < 6; i++)
			p->bytes[(size_t)random() % heads] = (unsigned char)random();
		for (int i = 0; i < 4; i++)
			p->bytes[(size_t)random() % ring_size(CAPACITY)] = (unsigned char)random();
		while (!is_empty(p->ring)) {
			const void *data;
			uint32_t type;
			size_t len;

			if (ring_peek(p->ring, CAPACITY, &type, &data, &len)) {
				assert_true((const unsigned char *)data >= p->bytes);
				assert_true((const unsigned char *)data + len <= p->bytes + ring_size(CAPACITY));
			}
			ring_drop(p->ring, CAPACITY);
			assert_true(++steps <= CAPACITY / 8);
		}
	}
}

#define RING_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        RING_TEST(test_in_order),
	        RING_TEST(test_wraps_whole),
	        RING_TEST(test_full_refuses_and_counts),
	        RING_TEST(test_too_large),
	        RING_TEST(test_writer_dies_before_the_index),
	        RING_TEST(test_two_processes),
	        RING_TEST(test_spoiled_length),
	        RING_TEST(test_spoiled_type),
	        RING_TEST(test_spoiled_index),
	        RING_TEST(test_length_spoiled_between_peek_and_drop),
	        RING_TEST(test_random_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
