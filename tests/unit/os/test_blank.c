/* Queues of blank sockets: filled until they are full, emptied one by one, and what a reader is told when nobody fills them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "os/blank.h"
#include "os/sock.h"

/* No right is needed for these. */
static const struct blank_kind four = {.family = AF_INET}, six = {.family = AF_INET6},
                               there = {.family = AF_INET, .netns = 7};
static struct blank_queue queue;
static int64_t ahead_ms; /* of the clock */

int64_t __real_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void)
{
	return __real_clock_mono_ms() + ahead_ms;
}

static int setup(void **state)
{
	ahead_ms = 0;
	assert_int_equal(blank_open(&queue), 0);
	return 0;
}

static int teardown(void **state)
{
	if (queue.read >= 0)
		close(queue.read);
	if (queue.write >= 0)
		close(queue.write);
	return 0;
}

static int family_of(int fd)
{
	int family = 0;
	socklen_t len = sizeof(family);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len), 0);
	return family;
}

static unsigned take_all(const struct blank_kind *kind)
{
	unsigned n = 0;
	int fd;

	while ((fd = blank_take(queue.read, kind)) >= 0) {
		assert_int_equal(family_of(fd), (int)kind->family);
		assert_true(sock_is_stream(fd));
		close(fd);
		n++;
	}
	assert_int_equal(fd, -EAGAIN);
	return n;
}

static void it_is_filled_and_emptied(void **state)
{
	unsigned n;

	assert_int_equal(blank_take(queue.read, &four), -EAGAIN);
	assert_int_equal(blank_fill(queue.write, &four), 0);
	n = take_all(&four);
	assert_in_range(n, 100, 1000);
	assert_int_equal(blank_fill(queue.write, &six), 0);
	assert_int_equal(take_all(&six), n);
}

/* Those that lie in it can still be taken. */
static void nobody_fills_it(void **state)
{
	int fd, n = 0;

	assert_int_equal(blank_fill(queue.write, &four), 0);
	close(queue.write);
	queue.write = -1;
	while ((fd = blank_take(queue.read, &four)) >= 0) {
		close(fd);
		n++;
	}
	assert_int_equal(fd, -EPIPE);
	assert_true(n >= 100);
}

static void nobody_reads_it(void **state)
{
	int rc;

	close(queue.read);
	queue.read = -1;
	rc = blank_fill(queue.write, &four);
	assert_true(rc == -EPIPE || rc == -ECONNRESET);
}

static void a_namespace_that_is_not_there(void **state)
{
	assert_int_equal(blank_fill_absent(queue.write), 0);
	assert_int_equal(blank_take(queue.read, &there), -ENONET);
	assert_int_equal(blank_take(queue.read, &there), -EAGAIN);
	/* what was true a while ago is not believed */
	assert_int_equal(blank_fill_absent(queue.write), 0);
	ahead_ms = 5000;
	assert_int_equal(blank_take(queue.read, &there), -EAGAIN);
}

static void old_sockets_of_a_namespace_are_passed_over(void **state)
{
	int fd;

	assert_int_equal(blank_fill(queue.write, &there), 0);
	fd = blank_take(queue.read, &there);
	assert_true(fd >= 0);
	close(fd);
	ahead_ms = 5000;
	assert_int_equal(blank_take(queue.read, &there), -EAGAIN);
	/* of ours they never become old */
	assert_int_equal(blank_fill(queue.write, &four), 0);
	ahead_ms = 500000;
	assert_true(take_all(&four) >= 100);
}

static void a_kind_is_found_by_all_that_it_is(void **state)
{
	struct blank_list list = {
	        .n = 3, .kinds = {{AF_INET, 1, 0, 0}, {AF_INET, 1, 7, 0}, {AF_INET6, 1, 7, 0}}, .fds = {10, 11, 12}};

	assert_int_equal(blank_find(&list, &(struct blank_kind){AF_INET, 1, 7, 0}), 1);
	assert_int_equal(blank_find(&list, &(struct blank_kind){AF_INET6, 1, 7, 0}), 2);
	assert_int_equal(blank_find(&list, &(struct blank_kind){AF_INET, 0, 7, 0}), -1);
	assert_int_equal(blank_find(&list, &(struct blank_kind){AF_INET, 1, 7, 1}), -1);
	list.n = UINT32_MAX; /* who may write it may lie */
	assert_int_equal(blank_find(&list, &(struct blank_kind){AF_INET, 0, 7, 0}), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TEST(it_is_filled_and_emptied),
	        TEST(nobody_fills_it),
	        TEST(nobody_reads_it),
	        TEST(a_namespace_that_is_not_there),
	        TEST(old_sockets_of_a_namespace_are_passed_over),
	        TEST(a_kind_is_found_by_all_that_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
