#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
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
	snprintf(expected, sizeof(expected), "READY=1\nMAINPID=%d\nSTATUS=workers: 2",
	         (int)getpid());
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
	assert_int_equal(systemd_listen_fds(), 0);
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDS"));
	setenv("LISTEN_FDS", "2", 1);
	assert_int_equal(systemd_listen_fds(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_ready, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reloading_tells_when, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_other_words, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_status_is_one_line, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_long_status_is_cut_between_characters, setup,
	                                    teardown),
	    cmocka_unit_test_setup_teardown(test_nobody_to_tell, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_manager_that_does_not_read_is_not_waited_for,
	                                    setup, teardown),
	    cmocka_unit_test_setup_teardown(test_watchdog, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_listening_sockets_of_somebody_else, setup,
	                                    teardown),
	};

	return cmocka_run_group_tests_name("os/systemd", tests, NULL, NULL);
}
