#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "os/systemd.h"

#define NAME "@tcpproxy-test-notify"

/* What the service manager is: a datagram socket. */
static int manager;

static int setup(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char name[64];
	int len = snprintf(name, sizeof(name), "%s-%d", NAME, (int)getpid());

	memcpy(sun.sun_path, name, (size_t)len);
	sun.sun_path[0] = '\0';
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&sun,
	                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len)),
	                 0);
	return setenv("NOTIFY_SOCKET", name, 1);
}

static int teardown(void **state)
{
	close(manager);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return 0;
}

/* The one message that was sent. */
static const char *heard(void)
{
	static char text[4096];
	ssize_t n = recv(manager, text, sizeof(text) - 1, 0);

	assert_true(n > 0);
	text[n] = '\0';
	assert_int_equal(recv(manager, (char[1]){0}, 1, 0), -1);
	return text;
}

static void test_ready(void **state)
{
	char expected[80];

	systemd_ready("workers: 2");
	snprintf(expected, sizeof(expected), "READY=1\nMAINPID=%d\nSTATUS=workers: 2", (int)getpid());
	assert_string_equal(heard(), expected);
}

static void test_reloading_tells_when(void **state)
{
	int64_t before = clock_mono_us(), at = 0;
	const char *text;

	systemd_reloading();
	text = heard();
	assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%" SCNd64, &at), 1);
	assert_in_range(at, before, clock_mono_us());
}

static void test_other_words(void **state)
{
	systemd_stopping("stopping");
	assert_string_equal(heard(), "STOPPING=1\nSTATUS=stopping");
	systemd_status("waiting");
	assert_string_equal(heard(), "STATUS=waiting");
	systemd_alive();
	assert_string_equal(heard(), "WATCHDOG=1");
	systemd_main_pid(77);
	assert_string_equal(heard(), "MAINPID=77");
}

static void test_a_status_is_one_line(void **state)
{
	systemd_status("first\nREADY=1");
	assert_string_equal(heard(), "STATUS=first");
}

static void test_a_long_status_is_cut_between_characters(void **state)
{
	char status[4097];
	const char *text;

	memset(status, 'x', 1023);
	for (size_t i = 1023; i < sizeof(status) - 1; i += 2)
		memcpy(status + i, "\xc3\xa4", i + 2 < sizeof(status) ? 2 : 1);
	status[4096] = '\0';
	systemd_status(status);
	text = heard();
	assert_int_equal(strlen(text), strlen("STATUS=") + 1023);
	assert_int_equal(text[strlen(text) - 1], 'x');
}

static void test_nobody_to_tell(void **state)
{
	char name[200];

	memset(name, '/', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	setenv("NOTIFY_SOCKET", name, 1);
	systemd_ready("");
	setenv("NOTIFY_SOCKET", "", 1);
	systemd_ready("");
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	systemd_ready("");
	unsetenv("NOTIFY_SOCKET");
	systemd_ready("");
	assert_int_equal(recv(manager, name, sizeof(name), 0), -1);
}

static void test_a_manager_that_does_not_read_is_not_waited_for(void **state)
{
	int64_t begin = clock_mono_ms();
	char text[16] = "STATUS=x";
	struct sockaddr_un sun;
	socklen_t len = sizeof(sun);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(getsockname(manager, (struct sockaddr *)&sun, &len), 0);
	while (sendto(fd, text, sizeof(text), 0, (struct sockaddr *)&sun, len) > 0)
		;
	close(fd);
	systemd_alive();
	assert_in_range(clock_mono_ms() - begin, 900, 3000);
}

static void watchdog(const char *usec, const char *pid, int64_t expected)
{
	if (usec)
		setenv("WATCHDOG_USEC", usec, 1);
	else
		unsetenv("WATCHDOG_USEC");
	if (pid)
		setenv("WATCHDOG_PID", pid, 1);
	else
		unsetenv("WATCHDOG_PID");
	assert_int_equal(systemd_watchdog_ms(), expected);
}

static void test_watchdog(void **state)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	watchdog(NULL, NULL, 0);
	watchdog(NULL, pid, 0);
	watchdog("30000000", NULL, 15000);
	watchdog("30000000", pid, 15000);
	watchdog("30000000", "1", 0);
	watchdog("30000000", "x", 0);
	watchdog("30000000", "", 0);
	watchdog("x", pid, 0);
	watchdog("-1", pid, 0);
	watchdog("0", pid, 0);
	watchdog("1", pid, 1);
	watchdog("30000000", "1", 0);
	systemd_inherit();
	assert_int_equal(systemd_watchdog_ms(), 15000);
}

static void test_listening_sockets_of_somebody_else(void **state)
{
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "2", 1);
	assert_int_equal(systemd_listen_fds(NULL), 0);
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDS"));
	setenv("LISTEN_FDS", "2", 1);
	assert_int_equal(systemd_listen_fds(NULL), 0);
}

/* What came beside the message, or -1. */
static int passed(const char *message)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char text[200];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text) - 1};
	struct msghdr msg = {
	        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(manager, &msg, 0);
	int fd;

	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, message);
	if (!CMSG_FIRSTHDR(&msg))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static void test_the_store(void **state)
{
	int ends[2], fd;

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(systemd_store("thing", ends[1]), 0);
	close(ends[1]);
	assert_false(hung_up(ends[0]));
	fd = passed("FDSTORE=1\nFDNAME=thing\nFDPOLL=0");
	assert_true(fd >= 0);
	assert_false(hung_up(ends[0]));
	close(fd);
	assert_true(hung_up(ends[0]));
	close(ends[0]);
	systemd_unstore("thing");
	assert_int_equal(passed("FDSTOREREMOVE=1\nFDNAME=thing"), -1);
	unsetenv("NOTIFY_SOCKET");
	assert_true(systemd_store("thing", 0) < 0);
}

static void test_a_barrier(void **state)
{
	int barrier = systemd_barrier(), fd = passed("BARRIER=1");

	assert_true(barrier >= 0 && fd >= 0);
	assert_false(hung_up(barrier));
	close(fd);
	assert_true(hung_up(barrier));
	close(barrier);
	unsetenv("NOTIFY_SOCKET");
	assert_true(systemd_barrier() < 0);
}

static void pass(const char *pid, const char *n, const char *names)
{
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", n, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
	else
		unsetenv("LISTEN_FDNAMES");
}

/* Descriptors 3 and 4 are passed; the tests' own are elsewhere. */
static void test_what_was_stored_comes_back(void **state)
{
	char pid[16];
	int ends[2], fd;

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(dup2(ends[1], 4), 4);
	if (ends[1] != 4)
		close(ends[1]);
	pass(pid, "2", "other:thing");
	fd = systemd_take_stored("thing");
	assert_true(fd > 4);
	assert_false(hung_up(ends[0]));
	close(fd);
	assert_true(hung_up(ends[0])); /* no copy is left */
	close(ends[0]);
	assert_int_equal(write(4, "x", 1), -1); /* it is something else now, open */
	assert_int_equal(errno, EBADF);
	close(4);
	assert_true(systemd_take_stored("thin") < 0);
	assert_true(systemd_take_stored("things") < 0);
	pass("1", "2", "other:thing");
	assert_true(systemd_take_stored("thing") < 0);
	pass(pid, "1", "other:thing");
	assert_true(systemd_take_stored("thing") < 0);
	pass(pid, "2", "");
	assert_true(systemd_take_stored("thing") < 0);
	pass(pid, "2", NULL);
	assert_true(systemd_take_stored("thing") < 0);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_ready, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_the_store, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_barrier, setup, teardown),
	        cmocka_unit_test(test_what_was_stored_comes_back),
	        cmocka_unit_test_setup_teardown(test_reloading_tells_when, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_other_words, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_status_is_one_line, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_long_status_is_cut_between_characters, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_nobody_to_tell, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_manager_that_does_not_read_is_not_waited_for, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_watchdog, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_listening_sockets_of_somebody_else, setup, teardown),
	};

	return cmocka_run_group_tests_name("os/systemd", tests, NULL, NULL);
}
