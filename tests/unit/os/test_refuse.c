/* A socket that stops listening and begins again: by whom, and from wherever the one before has been killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "os/refuse.h"
#include "os/sock.h"

static struct addr at;
static int fd;

/* At a port that it was given, not at port 0. */
static int setup(void **state)
{
	do {
		at = (struct addr){.family = AF_INET, .ip = {127, 0, 0, 1}};
		fd = sock_listen(&at, 4, false);
		sock_local(fd, &at);
		close(fd);
		fd = sock_listen(&at, 4, false);
	} while (fd == -EADDRINUSE);
	return fd < 0;
}

static int teardown(void **state)
{
	return close(fd);
}

/* 0, or what the kernel says to a client. */
static int client(void)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(&at, &sa);
	int s = socket(AF_INET, SOCK_STREAM, 0), rc = connect(s, (struct sockaddr *)&sa, len) < 0 ? errno : 0;

	close(s);
	return rc;
}

/* 0 or errno: somebody else's, with the option that lets it share what may be shared. */
static int another(void)
{
	int s = sock_listen(&at, 4, false);

	if (s >= 0)
		close(s);
	return s < 0 ? -s : 0;
}

static int reuse(void)
{
	int on = -1;
	socklen_t len = sizeof(on);

	getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &len);
	return on;
}

static void test_it_refuses_and_accepts(void **state)
{
	assert_true(refuse_works());
	for (int i = 0; i < 3; i++) {
		struct addr now;

		assert_int_equal(client(), 0);
		assert_int_equal(refuse_begin(fd), 0);
		assert_false(sock_is_listening(fd));
		assert_int_equal(client(), ECONNREFUSED);
		assert_int_equal(another(), EADDRINUSE);
		assert_int_equal(refuse_end(fd, 4), 0);
		assert_true(sock_is_listening(fd));
		assert_int_equal(sock_local(fd, &now), 0);
		assert_int_equal(now.port, at.port);
		assert_int_equal(another(), EADDRINUSE);
	}
}

static void test_twice_is_once(void **state)
{
	assert_int_equal(refuse_begin(fd), 0);
	assert_int_equal(refuse_begin(fd), 0);
	assert_int_equal(client(), ECONNREFUSED);
	assert_int_equal(refuse_end(fd, 4), 0);
	assert_int_equal(refuse_end(fd, 4), 0);
	assert_int_equal(client(), 0);
}

static void test_a_death_between_the_steps_is_mended(void **state)
{
	const int on = 1;

	/* killed behind the shutdown: it refuses, and could be taken */
	assert_int_equal(shutdown(fd, SHUT_RD), 0);
	assert_int_equal(reuse(), 1);
	assert_int_equal(refuse_begin(fd), 0);
	assert_int_equal(reuse(), 0);
	/* killed in front of the listen */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(refuse_begin(fd), 0);
	assert_int_equal(reuse(), 0);
	assert_int_equal(refuse_end(fd, 4), 0);
	assert_int_equal(reuse(), 1);
}

static void test_it_refuses_for_every_process(void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(refuse_begin(fd));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_false(sock_is_listening(fd));
	assert_int_equal(refuse_end(fd, 4), 0);
	assert_int_equal(client(), 0);
}

static void test_who_waits_is_reset_and_who_was_accepted_is_not(void **state)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(&at, &sa);
	int served = socket(AF_INET, SOCK_STREAM, 0), waits = socket(AF_INET, SOCK_STREAM, 0), accepted;
	char byte;

	assert_int_equal(connect(served, (struct sockaddr *)&sa, len), 0);
	accepted = sock_accept(fd, NULL);
	assert_true(accepted >= 0);
	assert_int_equal(connect(waits, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(refuse_begin(fd), 0);
	assert_int_equal(read(waits, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	/* and it listens again beside a connection that goes on */
	assert_int_equal(refuse_end(fd, 4), 0);
	assert_int_equal(write(accepted, "x", 1), 1);
	assert_int_equal(read(served, &byte, 1), 1);
	close(served);
	close(waits);
	close(accepted);
}

static void test_a_port_that_another_has_taken(void **state)
{
	int taker;

	assert_int_equal(shutdown(fd, SHUT_RD), 0); /* in the moment before it is kept */
	taker = sock_listen(&at, 4, false);
	assert_true(taker >= 0);
	assert_int_equal(refuse_end(fd, 4), -EADDRINUSE);
	assert_int_equal(reuse(), 0);
	close(taker);
	assert_int_equal(refuse_end(fd, 4), 0);
	assert_int_equal(client(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_it_refuses_and_accepts, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_twice_is_once, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_death_between_the_steps_is_mended, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_it_refuses_for_every_process, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_who_waits_is_reset_and_who_was_accepted_is_not, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_port_that_another_has_taken, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
