/* Many receives and sends in one call. Its source is included, for a look at what the ring refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "os/uring.c"

#define PAIRS (URING_MOST / 2)

static struct uring *ring;
static int pairs[PAIRS][2];

static int setup(void **state)
{
	ring = uring_new();
	for (int i = 0; i < PAIRS; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), 0);
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < PAIRS; i++)
		for (int end = 0; end < 2; end++)
			close(pairs[i][end]);
	uring_free(ring);
	return 0;
}

/* Each pair's message comes to its own place; who has none does not make the others wait. */
static void all_at_once(void **state)
{
	char out[PAIRS][8], in[URING_MOST][8];
	int sent[PAIRS], got[URING_MOST];

	if (!ring)
		skip(); /* not on this kernel */
	for (int turn = 0; turn < 3; turn++) {
		for (int i = 0; i < PAIRS; i++) {
			snprintf(out[i], sizeof(out[i]), "%d.%d", turn, i);
			uring_send(ring, pairs[i][0], out[i], sizeof(out[i]), MSG_DONTWAIT, &sent[i]);
		}
		assert_true(uring_run(ring));
		for (int i = 0; i < URING_MOST; i++) /* both ends: one of them has nothing */
			uring_recv(ring, pairs[i / 2][i % 2], in[i], sizeof(in[i]), MSG_DONTWAIT, &got[i]);
		assert_true(uring_run(ring));
		for (int i = 0; i < PAIRS; i++) {
			assert_int_equal(sent[i], sizeof(out[i]));
			assert_int_equal(got[i * 2], -EAGAIN);
			assert_int_equal(got[i * 2 + 1], sizeof(out[i]));
			assert_string_equal(in[i * 2 + 1], out[i]);
		}
	}
	assert_true(uring_run(ring)); /* nothing to do */
}

static void errors_are_those_of_recv_and_send(void **state)
{
	char byte = 'x';
	int sent, closed, end, bad;

	if (!ring)
		skip();
	close(pairs[0][1]);
	pairs[0][1] = -1;
	uring_send(ring, pairs[0][0], &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL, &closed);
	uring_recv(ring, pairs[0][0], &byte, 1, MSG_DONTWAIT, &end);
	uring_recv(ring, pairs[0][1], &byte, 1, MSG_DONTWAIT, &bad);
	uring_send(ring, pairs[1][0], &byte, 1, MSG_DONTWAIT, &sent);
	assert_true(uring_run(ring));
	assert_int_equal(closed, -EPIPE);
	assert_int_equal(end, 0);
	assert_int_equal(bad, -EBADF);
	assert_int_equal(sent, 1); /* who comes behind a failure is served all the same */
}

/* What a filter of system calls forbids cannot be had through the ring. */
static void it_can_do_nothing_else(void **state)
{
	struct io_uring_sqe *sqe;
	int ret;

	if (!ring)
		skip();
	sqe = next(ring, &ret);
	io_uring_prep_openat(sqe, AT_FDCWD, "/", O_RDONLY, 0);
	io_uring_sqe_set_data(sqe, &ret);
	uring_run(ring);
	assert_int_equal(ret, -EACCES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(all_at_once, setup, teardown),
	        cmocka_unit_test_setup_teardown(errors_are_those_of_recv_and_send, setup, teardown),
	        cmocka_unit_test_setup_teardown(it_can_do_nothing_else, setup, teardown),
	};

	return cmocka_run_group_tests_name("uring", tests, NULL, NULL);
}
