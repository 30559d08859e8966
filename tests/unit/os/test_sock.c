#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "os/sock.h"

static int n_open;

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int setup(void **state)
{
	n_open = open_fds();
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(open_fds(), n_open);
	return 0;
}

static struct addr address(const char *text)
{
	struct addr a;

	assert_true(addr_parse(text, &a));
	return a;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

/* A port of which nobody has any part, and which the kernel gives to no client: one in TIME_WAIT would keep a wildcard
 * away. */
static uint16_t free_port(void)
{
	struct addr four = address("0.0.0.0"), six = address("::");
	static uint16_t port = 2000;

	for (bool is_free = false; !is_free;) {
		int fds[2];

		assert_true(++port < 10000);
		four.port = six.port = port;
		fds[0] = sock_listen(&four, 5, false);
		fds[1] = sock_listen(&six, 5, false);
		is_free = fds[0] >= 0 && fds[1] >= 0;
		for (int i = 0; i < 2; i++)
			if (fds[i] >= 0)
				close(fds[i]);
	}
	return port;
}

static int listener_at(const char *text, struct addr *where)
{
	struct addr a = address(text);
	int fd;

	a.port = free_port();
	fd = sock_listen(&a, 5, false);
	assert_true(fd >= 0);
	assert_int_equal(sock_local(fd, where), 0);
	return fd;
}

static void wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	assert_int_equal(poll(&p, 1, 5000), 1);
}

static void pair(int *ours, int *theirs)
{
	struct addr a;
	int listener = listener_at("127.0.0.1", &a);

	*theirs = sock_new_tcp(AF_INET);
	assert_int_equal(sock_connect(*theirs, &a), -EINPROGRESS);
	wait_for(listener, POLLIN);
	*ours = sock_accept(listener, NULL);
	assert_true(*ours >= 0);
	close(listener);
}

/* ---- listening ---- */

static void assert_ready_for_use(int fd)
{
	assert_true(option(fd, IPPROTO_TCP, TCP_NODELAY));
	assert_true(option(fd, SOL_SOCKET, SO_OOBINLINE));
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* What is set on the listener costs an accepted connection no call. */
static void accepted_sockets_inherit(void **state)
{
	struct addr a, peer, local;
	int listener = listener_at("127.0.0.1", &a);
	int client = sock_new_tcp(AF_INET), conn;

	assert_int_equal(sock_keepalive(listener, 300000), 0);
	assert_int_equal(sock_accept(listener, &peer), -EAGAIN);
	assert_int_equal(sock_connect(client, &a), -EINPROGRESS);
	wait_for(listener, POLLIN);
	conn = sock_accept(listener, &peer);
	assert_ready_for_use(conn);
	assert_false(option(client, IPPROTO_TCP, TCP_NODELAY)); /* a short connection does without */
	sock_no_delay(client);
	assert_ready_for_use(client);
	assert_int_equal(sock_local(client, &local), 0);
	assert_memory_equal(&local, &peer, sizeof(peer));
	assert_int_equal(sock_peer(client, &peer), 0);
	assert_memory_equal(&a, &peer, sizeof(peer));
	assert_true(option(conn, SOL_SOCKET, SO_KEEPALIVE));
	assert_int_equal(option(conn, IPPROTO_TCP, TCP_KEEPIDLE), 300);
	assert_int_equal(option(conn, IPPROTO_TCP, TCP_KEEPINTVL), 30);
	assert_int_equal(option(conn, IPPROTO_TCP, TCP_KEEPCNT), 5);
	assert_true(sock_is_listening(listener));
	assert_false(sock_is_listening(conn));
	assert_true(sock_is_tcp(conn));
	assert_int_equal(sock_connect(client, &a), 0); /* asked again: it is connected */
	close(conn);
	close(client);
	close(listener);
}

static void keepalive_times(void **state)
{
	int fd = sock_new_tcp(AF_INET);

	assert_int_equal(sock_keepalive(fd, 1), 0); /* at least a second */
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 1);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 1);
	assert_int_equal(sock_keepalive(fd, INT64_MAX), 0); /* more than the kernel takes */
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 32767);
	assert_int_equal(sock_keepalive(fd, 0), 0);
	assert_false(option(fd, SOL_SOCKET, SO_KEEPALIVE));
	close(fd);
}

static void a_port_in_use(void **state)
{
	struct addr a;
	int first = listener_at("127.0.0.1", &a);

	assert_int_equal(sock_listen(&a, 5, false), -EADDRINUSE);
	assert_int_equal(sock_listen(&a, 5, true), -EADDRINUSE); /* nobody can steal it */
	close(first);
	first = sock_listen(&a, 5, false);
	assert_true(first >= 0);
	close(first);
}

/* While both share, one may follow the other from an address to the wildcard. */
static void a_port_that_is_shared_for_a_moment(void **state)
{
	struct addr a, wildcard = address("0.0.0.0");
	int first = listener_at("127.0.0.1", &a), second;

	wildcard.port = a.port;
	assert_int_equal(sock_listen(&wildcard, 5, true), -EADDRINUSE);
	sock_share_port(first, true);
	second = sock_listen(&wildcard, 5, true);
	assert_true(second >= 0);
	assert_false(option(second, SOL_SOCKET, SO_REUSEPORT));
	close(first);
	close(second);
}

static void an_address_that_this_host_does_not_have(void **state)
{
	struct addr a;

	close(listener_at("192.0.2.77", &a));
	close(listener_at("2001:db8::77", &a));
}

static void families_are_apart(void **state)
{
	struct addr a, six = address("::");
	int first = listener_at("0.0.0.0", &a), second;

	six.port = a.port;
	second = sock_listen(&six, 5, false); /* both wildcards of one port */
	assert_true(second >= 0);
	assert_false(sock_is_dual(second));
	assert_false(sock_is_dual(first));
	close(first);
	close(second);
}

static void a_listener_that_somebody_else_opened(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), off = 0;

	in6.sin6_port = htons(free_port());
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in6, sizeof(in6)), 0);
	assert_int_equal(listen(fd, 5), 0);
	sock_prepare_listener(fd);
	assert_ready_for_use(fd);
	assert_true(sock_is_dual(fd));
	close(fd);
}

/* ---- connections ---- */

static void kinds_of_sockets(void **state)
{
	int fd = sock_new_unix();

	assert_false(sock_is_tcp(fd));
	assert_false(sock_is_listening(fd));
	assert_int_equal(sock_connect_unix(fd, "/nonexistent/socket"), -ENOENT);
	assert_int_equal(sock_connect_unix(fd, "/a/path/that/is/longer/than/the/108/bytes/which/a/"
	                                       "sockaddr_un/has/for/it/so/that/it/cannot/be/told/to/"
	                                       "the/kernel/at/all"),
	                 -ENAMETOOLONG);
	close(fd);
	assert_false(sock_is_tcp(0x7fff));
	assert_int_equal(sock_new_tcp(AF_UNSPEC), -EAFNOSUPPORT);
}

static void counts_of_bytes(void **state)
{
	struct sock_tcp_info info;
	int ours, theirs;

	pair(&ours, &theirs);
	assert_int_equal(sock_unread(ours), 0);
	assert_int_equal(send(theirs, "hello", 5, 0), 5);
	wait_for(ours, POLLIN);
	assert_int_equal(sock_unread(ours), 5);
	while (sock_unsent(theirs) > 0)
		;
	assert_int_equal(sock_tcp_info(ours, &info), 0);
	assert_int_equal(info.bytes_received, 5);
	assert_true(info.settled);
	assert_false(tcp_fin_received(info.state));
	shutdown(theirs, SHUT_WR);
	do
		assert_int_equal(sock_tcp_info(ours, &info), 0);
	while (!tcp_fin_received(info.state));
	assert_int_equal(info.bytes_received, 6); /* the FIN is one */
	assert_false(info.settled);
	assert_true(sock_cookie(ours) != 0);
	assert_true(sock_cookie(ours) != sock_cookie(theirs));
	assert_true(sock_cookie(ours) == sock_cookie(ours));
	close(ours);
	close(theirs);
	assert_true(sock_cookie(ours) == 0);
	assert_true(sock_unsent(ours) < 0);
	assert_int_equal(sock_tcp_info(ours, &info), -EBADF);
}

/* 20 KB that come in pieces for which there is no room: who looks at them only would wait for ever. */
static void room_for_what_is_looked_at(void **state)
{
	static char bytes[20000];
	int listener, ours, theirs, small = 4096;
	struct addr a;
	size_t sent = 0;

	listener = listener_at("127.0.0.1", &a);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	theirs = sock_new_tcp(AF_INET);
	assert_int_equal(sock_connect(theirs, &a), -EINPROGRESS);
	wait_for(listener, POLLIN);
	ours = sock_accept(listener, NULL);
	sock_widen(ours);
	assert_int_equal(option(ours, SOL_SOCKET, SO_RCVBUF), 2 * small); /* there is nothing in it */
	while (sent < sizeof(bytes)) {
		ssize_t n = sock_send(theirs, bytes + sent, sizeof(bytes) - sent, 0);

		assert_true(n > 0);
		sent += (size_t)n;
	}
	wait_for(ours, POLLIN);
	for (int i = 0; i < 100 && sock_unread(ours) < (int)sizeof(bytes); i++) {
		poll(NULL, 0, 20);
		sock_widen(ours);
	}
	assert_int_equal(sock_unread(ours), sizeof(bytes));
	assert_true(option(ours, SOL_SOCKET, SO_RCVBUF) > 2 * small);
	close(ours);
	close(theirs);
	close(listener);
}

static void a_reset_at_close(void **state)
{
	int ours, theirs;
	char byte;

	pair(&ours, &theirs);
	sock_reset_on_close(ours);
	close(ours);
	wait_for(theirs, POLLIN);
	assert_int_equal(sock_take_error(theirs), ECONNRESET);
	assert_int_equal(sock_take_error(theirs), 0); /* it is told once */
	assert_int_equal(recv(theirs, &byte, 1, 0), 0);
	close(theirs);
}

/* ---- messages ---- */

static void messages_keep_their_bounds(void **state)
{
	int ends[2];
	char buf[16];
	size_t n = 0;

	assert_int_equal(sock_message_pair(ends), 0);
	assert_int_equal(sock_recv_message(ends[1], buf, sizeof(buf), NULL, NULL), -EAGAIN);
	assert_int_equal(sock_send_message(ends[0], "one", 3, NULL, 0), 0);
	assert_int_equal(sock_send_message(ends[0], "second", 6, NULL, 0), 0);
	assert_int_equal(sock_recv_message(ends[1], buf, sizeof(buf), NULL, NULL), 3);
	assert_int_equal(sock_recv_message(ends[1], buf, sizeof(buf), NULL, &n), 6);
	assert_memory_equal(buf, "second", 6);
	close(ends[0]);
	assert_int_equal(sock_recv_message(ends[1], buf, sizeof(buf), NULL, NULL), 0);
	assert_int_equal(sock_send_message(ends[1], "x", 1, NULL, 0), -EPIPE);
	close(ends[1]);
}

static void a_full_channel_blocks_nobody(void **state)
{
	static const char message[1000];
	int ends[2], rc, sent = 0;

	assert_int_equal(sock_message_pair(ends), 0);
	while ((rc = sock_send_message(ends[0], message, sizeof(message), NULL, 0)) == 0)
		sent++;
	assert_int_equal(rc, -EAGAIN);
	assert_true(sent > 5);
	close(ends[0]);
	close(ends[1]);
}

/* Sends n descriptors of this process, receives with room for some. */
static void send_and_receive(size_t n, size_t room)
{
	int ends[2], fds[SOCK_MAX_FDS], got[SOCK_MAX_FDS], before;
	size_t n_got = room;
	char buf[4];

	assert_int_equal(sock_message_pair(ends), 0);
	for (size_t i = 0; i < n; i++)
		fds[i] = 1;
	assert_int_equal(sock_send_message(ends[0], "fds", 3, fds, n), 0);
	before = open_fds();
	assert_int_equal(sock_recv_message(ends[1], buf, sizeof(buf), got, room ? &n_got : NULL), 3);
	if (room)
		assert_int_equal(n_got, n < room ? n : room);
	else
		n_got = 0;
	assert_int_equal(open_fds(), before + (int)n_got); /* those beyond are closed */
	for (size_t i = 0; i < n_got; i++) {
		assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
		close(got[i]);
	}
	close(ends[0]);
	close(ends[1]);
}

static void descriptors_travel(void **state)
{
	send_and_receive(1, 1);
	send_and_receive(3, 3);
	send_and_receive(SOCK_MAX_FDS, SOCK_MAX_FDS);
	send_and_receive(1, 4);
	send_and_receive(5, 2);
	send_and_receive(SOCK_MAX_FDS, 1);
	send_and_receive(2, 0);
}

static void too_many_descriptors(void **state)
{
	int ends[2], fds[SOCK_MAX_FDS + 1], none = -1;

	assert_int_equal(sock_message_pair(ends), 0);
	for (int i = 0; i <= SOCK_MAX_FDS; i++)
		fds[i] = 1;
	assert_int_equal(sock_send_message(ends[0], "x", 1, fds, SOCK_MAX_FDS + 1), -EINVAL);
	assert_int_equal(sock_send_message(ends[0], "x", 1, &none, 1), -EBADF);
	close(ends[0]);
	close(ends[1]);
}

/* A failed receipt leaves no number of descriptors behind that are none. */
static void nothing_to_receive(void **state)
{
	int ends[2], fds[4];
	size_t n = 4;
	char buf[4];

	assert_int_equal(sock_message_pair(ends), 0);
	assert_int_equal(sock_recv_message(ends[0], buf, sizeof(buf), fds, &n), -EAGAIN);
	assert_int_equal(n, 0);
	close(ends[0]);
	close(ends[1]);
}

/* An empty message is taken for the end; nobody looks for descriptors there, so none may come. */
static void an_end_brings_no_descriptors(void **state)
{
	int ends[2], fds[2] = {1, 1}, before;
	size_t n = 2;
	char byte;

	assert_int_equal(sock_message_pair(ends), 0);
	assert_int_equal(sock_send_message(ends[0], "", 0, fds, 2), 0);
	before = open_fds();
	assert_int_equal(sock_peek_message(ends[1], &byte, 1, fds, &n), 0);
	assert_int_equal(n, 0);
	n = 2;
	assert_int_equal(sock_recv_message(ends[1], &byte, 1, fds, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(open_fds(), before);
	close(ends[0]);
	close(ends[1]);
}

static void interfaces_by_name(void **state)
{
	int kinds[] = {sock_new_tcp(AF_INET), sock_new_tcp(AF_INET6), sock_new_unix()};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		assert_int_equal(sock_interface_index(kinds[i], "lo"), 1);
		assert_int_equal(sock_interface_index(kinds[i], "nosuchif"), -ENODEV);
		assert_int_equal(sock_interface_index(kinds[i], "a name that is too long"), -ENODEV);
		close(kinds[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(accepted_sockets_inherit),
	        TEST(keepalive_times),
	        TEST(a_port_in_use),
	        TEST(a_port_that_is_shared_for_a_moment),
	        TEST(an_address_that_this_host_does_not_have),
	        TEST(families_are_apart),
	        TEST(a_listener_that_somebody_else_opened),
	        TEST(kinds_of_sockets),
	        TEST(interfaces_by_name),
	        TEST(counts_of_bytes),
	        TEST(a_reset_at_close),
	        TEST(room_for_what_is_looked_at),
	        TEST(messages_keep_their_bounds),
	        TEST(a_full_channel_blocks_nobody),
	        TEST(descriptors_travel),
	        TEST(too_many_descriptors),
	        TEST(an_end_brings_no_descriptors),
	        TEST(nothing_to_receive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
