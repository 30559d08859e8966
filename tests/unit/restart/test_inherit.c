/* What one program leaves to the next over an exec: what is put is what is taken, by whichever version; nonsense is none. */
#include "fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "os/sock.h"
#include "restart/inherit.h"

#define VARIABLE       "TCPPROXY_UPGRADE"
#define ADMIN_VARIABLE "TCPPROXY_ADMIN"

static int socks[2], pipes[2]; /* two sockets; a pipe */
static struct inheritance left, taken;

static struct inheritance nothing(void)
{
	return (struct inheritance){.network = NETWORK_NONE,
	                            .files = -1,
	                            .guard = -1,
	                            .lifeline = -1,
	                            .spawner = -1,
	                            .client = -1,
	                            .trial = -1};
}

static int setup(void **state)
{
	fixture_setup(state);
	assert_int_equal(sock_message_pair(socks), 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	left = nothing();
	left.files = socks[0];
	left.guard = pipes[1];
	left.lifeline = pipes[0];
	left.spawner = socks[1];
	left.key = 0xfedcba9876543210;
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < 2; i++) {
		close(socks[i]);
		close(pipes[i]);
	}
	assert_null(getenv(VARIABLE));
	assert_null(getenv(ADMIN_VARIABLE));
	return fixture_teardown(state);
}

static bool take_it(void)
{
	inherit_take(&taken);
	free(taken.admin.list);
	return taken.upgraded;
}

static bool take(const char *text)
{
	setenv(VARIABLE, text, 1);
	return take_it();
}

static void expect_taken(int a, int b, int c, int d)
{
	assert_int_equal(taken.files, a);
	assert_int_equal(taken.guard, b);
	assert_int_equal(taken.lifeline, c);
	assert_int_equal(taken.spawner, d);
}

static void expect_going(bool going)
{
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fixture_goes_over_exec(socks[i]), going);
		assert_int_equal(fixture_goes_over_exec(pipes[i]), going);
	}
}

static void test_what_is_put_is_taken(void **state)
{
	inherit_put(&left);
	expect_going(true);
	assert_true(take_it());
	expect_taken(socks[0], pipes[1], pipes[0], socks[1]);
	assert_true(taken.key == left.key);
	expect_going(false);
}

static void test_what_there_is_none_of(void **state)
{
	struct inheritance none = nothing();

	inherit_put(&none);
	assert_true(take_it());
	expect_taken(-1, -1, -1, -1);
}

static void test_a_guard_that_has_come_back(void **state)
{
	struct inheritance back = nothing();

	back.guard = INHERIT_ROLLED_BACK;
	inherit_put(&back);
	assert_true(take_it());
	expect_taken(-1, INHERIT_ROLLED_BACK, -1, -1);
}

static void test_where_the_exec_has_failed_all_is_as_before(void **state)
{
	inherit_put(&left);
	inherit_take_back(&left);
	expect_going(false);
	assert_false(take_it());
	expect_taken(-1, -1, -1, -1);
}

/* What needs CAP_NET_ADMIN. */
static void test_the_queues_of_blank_sockets(void **state)
{
	char text[200];

	left.network = (struct network){.control_fd = socks[0],
	                                .blanks = {.n = 2,
	                                           .kinds = {{AF_INET, 1, 0, 3}, {AF_INET6, 0, 0x100000, 0}},
	                                           .fds = {socks[1], socks[0]}}};
	inherit_put(&left);
	assert_true(take_it());
	assert_memory_equal(&taken.network, &left.network, sizeof(left.network));
	expect_going(false);
	/* a version that knows nothing of them; and nonsense */
	assert_true(take("-1 -1 -1 -1 0"));
	assert_int_equal(taken.network.control_fd, -1);
	assert_int_equal(taken.network.blanks.n, 0);
	snprintf(text, sizeof(text), "%d\n4711 2 1 0 0\n%d 2 1 0\n%d 2 1 0 0\n%d 10 1 7 0\n0\n", pipes[0], socks[0],
	         pipes[0], socks[1]);
	setenv("TCPPROXY_NETWORK", text, 1);
	take_it();
	assert_int_equal(taken.network.control_fd, -1);
	assert_int_equal(taken.network.blanks.n, 1);
	assert_int_equal(taken.network.blanks.fds[0], socks[1]);
	assert_int_equal(taken.network.blanks.kinds[0].mark, 7);
}

/* They named what they had. */
static void test_older_versions(void **state)
{
	char text[96];

	snprintf(text, sizeof(text), "%d %d", socks[0], pipes[1]);
	assert_true(take(text));
	expect_taken(socks[0], pipes[1], -1, -1);
	snprintf(text, sizeof(text), "%d %d %d", socks[0], pipes[1], pipes[0]);
	assert_true(take(text));
	expect_taken(socks[0], pipes[1], pipes[0], -1);
	snprintf(text, sizeof(text), "%d %d %d %d", socks[0], pipes[1], pipes[0], socks[1]);
	assert_true(take(text));
	expect_taken(socks[0], pipes[1], pipes[0], socks[1]);
	assert_true(taken.key == 0);
}

/* It may name more. */
static void test_a_newer_version(void **state)
{
	assert_true(take("-1 -1 -1 -1 1f 4711 and more"));
	expect_taken(-1, -1, -1, -1);
	assert_true(taken.key == 0x1f);
}

static void test_what_is_no_inheritance(void **state)
{
	static const char *const nonsense[] = {"", " ", "x", "1", "3 x", "yes yes yes", "\xff\xff"};

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(*nonsense); i++) {
		assert_false(take(nonsense[i]));
		expect_taken(-1, -1, -1, -1);
		assert_null(getenv(VARIABLE)); /* who is started by us need not see it */
	}
	assert_false(take_it());
}

static void test_descriptors_that_are_not_open(void **state)
{
	assert_true(take("9999 9999 9999 9999 1"));
	expect_taken(-1, -1, -1, -1);
	assert_true(take("-7 -7 -7 -7 1"));
	expect_taken(-1, -1, -1, -1);
}

/* It is none of ours, and stays what it is; but for what goes on to others. */
static void test_descriptors_of_another_kind(void **state)
{
	char text[96];

	snprintf(text, sizeof(text), "%d %d %d %d 1", pipes[0], socks[0], socks[1], pipes[1]);
	assert_true(take(text));
	expect_taken(-1, -1, -1, -1);
	for (int i = 0; i < 2; i++)
		assert_true(fixture_is_open(socks[i]) && fixture_is_open(pipes[i]));
	expect_going(false);
}

/* ---- the admin sockets ---- */

static struct admin_sockets found;
static int client;

static void put_admin(const struct admin_sockets *sockets, int who_waits)
{
	left = nothing();
	left.admin = *sockets;
	left.client = who_waits;
	inherit_put(&left);
}

static void take_admin(const char *text)
{
	if (text)
		setenv(ADMIN_VARIABLE, text, 1);
	inherit_take(&taken);
	found = taken.admin;
	client = taken.client;
}

static void forget(void)
{
	for (size_t i = 0; i < found.n; i++)
		free(found.list[i].path);
	free(found.list);
}

static void test_admin_sockets_and_who_waits(void **state)
{
	struct admin_socket list[] = {{.path = (char *)"/run/a b.sock", .fd = admin_sockets.list[0].fd},
	                              {.path = (char *)"tcp:127.0.0.1:80", .page = true, .fd = socks[0]}};
	struct admin_sockets two = {.list = list, .n = 2};

	put_admin(&two, socks[1]);
	assert_true(fixture_goes_over_exec(list[0].fd));
	assert_true(fixture_goes_over_exec(socks[0]));
	assert_true(fixture_goes_over_exec(socks[1]));
	take_admin(NULL);
	assert_int_equal(client, socks[1]);
	assert_int_equal(found.n, 2);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(found.list[i].path, list[i].path);
		assert_int_equal(found.list[i].page, list[i].page);
		assert_int_equal(found.list[i].fd, list[i].fd);
		assert_false(fixture_goes_over_exec(list[i].fd));
	}
	assert_false(fixture_goes_over_exec(client));
	forget();
}

static void test_none_of_them_and_nobody_waits(void **state)
{
	put_admin(&(struct admin_sockets){.n = 0}, -1);
	take_admin(NULL);
	assert_int_equal(found.n, 0);
	assert_int_equal(client, -1);
	take_admin(NULL); /* without a variable */
	assert_int_equal(found.n, 0);
	assert_int_equal(client, -1);
}

static void test_after_all_they_do_not_go(void **state)
{
	put_admin(&admin_sockets, socks[0]);
	inherit_take_back(&left);
	assert_false(fixture_goes_over_exec(admin_sockets.list[0].fd));
	assert_false(fixture_goes_over_exec(socks[0]));
	take_admin(NULL);
	assert_int_equal(found.n, 0);
}

static void test_what_names_no_admin_socket(void **state)
{
	static const char *const nonsense[] = {
	        "",
	        "\n\n",
	        "x",
	        "0",
	        "-1\nx /run/x",
	        "-1\n/run/x",
	        "-1\n-5 /run/x",
	        "-1\n9999 /run/x",
	        "99999999999\n99999999999 /run/x",
	};
	int null = open("/dev/null", O_RDWR);
	char text[40];

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(*nonsense); i++) {
		take_admin(nonsense[i]);
		assert_int_equal(client, -1);
		assert_int_equal(found.n, 0);
	}
	snprintf(text, sizeof(text), "%d\n%d /run/x", null, null); /* no sockets */
	take_admin(text);
	assert_int_equal(client, -1);
	assert_int_equal(found.n, 0);
	close(null);
}

/* A line that says too little keeps nothing open for those that we start. */
static void test_nothing_leaks_to_others(void **state)
{
	char text[40];

	put_admin(&admin_sockets, -1);
	snprintf(text, sizeof(text), "-1\n%d", admin_sockets.list[0].fd);
	take_admin(text);
	assert_int_equal(found.n, 0);
	assert_false(fixture_goes_over_exec(admin_sockets.list[0].fd));
}

/* ---- of a trial ---- */

static void test_where_a_trial_asks(void **state)
{
	char text[20];

	snprintf(text, sizeof(text), "%d", socks[0]);
	setenv(INHERIT_TRIAL_VARIABLE, text, 1);
	assert_false(take_it());
	assert_int_equal(taken.trial, socks[0]);
	assert_null(getenv(INHERIT_TRIAL_VARIABLE));
	for (int i = 0; i < 3; i++) {
		setenv(INHERIT_TRIAL_VARIABLE, (const char *[]){"", "x", "9999"}[i], 1);
		assert_false(take_it());
		assert_int_equal(taken.trial, -1);
	}
	snprintf(text, sizeof(text), "%d", pipes[0]);
	setenv(INHERIT_TRIAL_VARIABLE, text, 1);
	take_it();
	assert_int_equal(taken.trial, -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(what_is_put_is_taken),
	        TEST(what_there_is_none_of),
	        TEST(a_guard_that_has_come_back),
	        TEST(where_the_exec_has_failed_all_is_as_before),
	        TEST(the_queues_of_blank_sockets),
	        TEST(older_versions),
	        TEST(a_newer_version),
	        TEST(what_is_no_inheritance),
	        TEST(descriptors_that_are_not_open),
	        TEST(descriptors_of_another_kind),
	        TEST(admin_sockets_and_who_waits),
	        TEST(none_of_them_and_nobody_waits),
	        TEST(after_all_they_do_not_go),
	        TEST(what_names_no_admin_socket),
	        TEST(nothing_leaks_to_others),
	        TEST(where_a_trial_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
