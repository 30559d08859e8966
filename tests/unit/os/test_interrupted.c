/* Every call is interrupted before it has done anything; and what an error says about a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "os/pipe.h"
#include "os/sock.h"

int __real_connect(int fd, const struct sockaddr *sa, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t len);
ssize_t __real_recv(int fd, void *to, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *to, size_t n, int flags);
ssize_t __real_send(int fd, const void *from, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *from, size_t n, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __real_splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags);
ssize_t __wrap_splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags);

/* Of two calls the first one is. */
static bool is_interrupted(void)
{
	static bool now;

	now = !now;
	errno = EINTR;
	return now;
}

int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	return is_interrupted() ? -1 : __real_connect(fd, sa, len);
}

ssize_t __wrap_recv(int fd, void *to, size_t n, int flags)
{
	return is_interrupted() ? -1 : __real_recv(fd, to, n, flags);
}

ssize_t __wrap_send(int fd, const void *from, size_t n, int flags)
{
	return is_interrupted() ? -1 : __real_send(fd, from, n, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	return is_interrupted() ? -1 : __real_recvmsg(fd, msg, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return is_interrupted() ? -1 : __real_sendmsg(fd, msg, flags);
}

ssize_t __wrap_splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags)
{
	return is_interrupted() ? -1 : __real_splice(from, from_at, to, to_at, n, flags);
}

/* ---- each of them ---- */

static void make_tcp_pair(int *caller, int *called)
{
	struct pollfd p = {.events = POLLIN};
	struct addr a;
	int listener, rc;

	assert_true(addr_parse("127.0.0.1", &a));
	listener = sock_listen(&a, 1, false);
	assert_true(listener >= 0);
	assert_int_equal(sock_local(listener, &a), 0);
	*caller = sock_new_tcp(AF_INET);
	rc = sock_connect(*caller, &a);
	assert_true(rc == 0 || rc == -EINPROGRESS);
	p.fd = listener;
	assert_int_equal(poll(&p, 1, 5000), 1); /* it has begun */
	*called = sock_accept(listener, NULL);
	assert_true(*called >= 0);
	p = (struct pollfd){.fd = *caller, .events = POLLOUT};
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(sock_connect(*caller, &a), 0);
	close(listener);
}

static void a_connection(void **state)
{
	int caller, called;

	make_tcp_pair(&caller, &called);
	close(caller);
	close(called);
}

static void a_connection_to_a_unix_socket(void **state)
{
	char path[] = "/tmp/test_interrupted.XXXXXX";
	int listener, fd;

	close(mkstemp(path));
	unlink(path);
	listener = sock_listen_unix(path, 0600, 5);
	assert_true(listener >= 0);
	fd = sock_new_unix();
	assert_int_equal(sock_connect_unix(fd, path), 0);
	close(fd);
	close(listener);
	unlink(path);
}

static void bytes(void **state)
{
	int caller, called, ends[2];
	char buf[8] = "";

	make_tcp_pair(&caller, &called);
	assert_int_equal(pipe_new(ends, 0), 0);
	assert_int_equal(sock_recv(called, buf, sizeof(buf), 0), -EAGAIN);
	assert_int_equal(sock_send(caller, "hello", 5, 0), 5);
	assert_int_equal(poll(&(struct pollfd){.fd = called, .events = POLLIN}, 1, 5000), 1);
	assert_int_equal(sock_recv(called, buf, sizeof(buf), MSG_PEEK), 5);
	assert_int_equal(pipe_splice(called, ends[1], 5), 5);
	assert_int_equal(pipe_splice(called, ends[1], 5), -EAGAIN);
	assert_int_equal(read(ends[0], buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "hello", 5);
	for (int i = 0; i < 2; i++)
		close(ends[i]);
	close(caller);
	close(called);
}

static void messages(void **state)
{
	int pair[2], fd = -1;
	size_t n_fds = 1;
	char buf[8] = "";

	assert_int_equal(sock_message_pair(pair), 0);
	assert_int_equal(sock_send_message(pair[0], "hello", 5, &pair[0], 1), 0);
	assert_int_equal(sock_peek_message(pair[1], buf, sizeof(buf), NULL, NULL), 5);
	assert_int_equal(sock_recv_message(pair[1], buf, sizeof(buf), &fd, &n_fds), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(n_fds, 1);
	assert_int_equal(sock_send_message(pair[0], "again", 5, NULL, 0), 0);
	sock_drop_message(pair[1]);
	assert_int_equal(sock_recv_message(pair[1], buf, sizeof(buf), NULL, NULL), -EAGAIN);
	close(fd);
	close(pair[0]);
	close(pair[1]);
}

/* ---- what an error says ---- */

static void an_error_of_a_connection_that_is_there(void **state)
{
	int caller, called, pair[2];

	make_tcp_pair(&caller, &called);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (int i = 0; i < 2; i++) {
		int fd = i == 0 ? caller : pair[0];

		assert_false(sock_is_over(fd, ENOMEM));
		assert_false(sock_is_over(fd, EINVAL));
		assert_true(sock_is_over(fd, EPIPE)); /* the peer of a Unix socket may still write */
		assert_true(sock_is_over(fd, ECONNRESET));
	}
	close(caller);
	close(called);
	close(pair[0]);
	close(pair[1]);
}

/* As after ETIMEDOUT, EHOSTUNREACH and others. */
static void an_error_of_a_connection_that_is_gone(void **state)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	int caller, called;

	make_tcp_pair(&caller, &called);
	assert_int_equal(__real_connect(caller, &nobody, sizeof(nobody)), 0);
	assert_true(sock_is_over(caller, ETIMEDOUT));
	assert_true(sock_is_over(caller, EHOSTUNREACH));
	close(caller);
	close(called);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_connection),
	        cmocka_unit_test(a_connection_to_a_unix_socket),
	        cmocka_unit_test(bytes),
	        cmocka_unit_test(messages),
	        cmocka_unit_test(an_error_of_a_connection_that_is_there),
	        cmocka_unit_test(an_error_of_a_connection_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
