#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "program/contract.h"

static struct section section = {.env_prefix = "PROXY_"};

static int reset(void **state)
{
	section = (struct section){.env_prefix = "PROXY_"};
	return 0;
}

static struct addr make_addr(const char *text, uint16_t port)
{
	struct addr a;

	assert_true(addr_parse(text, &a));
	a.port = port;
	return a;
}

static struct program_client make_client(const char *local, const char *client, const char *name)
{
	return (struct program_client){
	        .local = make_addr(local, 25),
	        .client = make_addr(client, 51234),
	        .name = name,
	};
}

/* The value, or NULL; a name stands there once. */
static const char *get(char **env, const char *name)
{
	const char *value = NULL;
	size_t len = strlen(name);

	for (; *env; env++) {
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=') {
			assert_null(value);
			value = *env + len + 1;
		}
	}
	return value;
}

/* Exactly these, in any order; `expected` ends with NULL. */
static void check_env(char **env, const char *const *expected)
{
	size_t n = 0, n_expected = 0;

	while (env[n])
		n++;
	for (; expected[n_expected]; n_expected++) {
		bool found = false;

		for (size_t i = 0; i < n; i++)
			found |= strcmp(env[i], expected[n_expected]) == 0;
		if (!found)
			fail_msg("%s is missing", expected[n_expected]);
	}
	assert_int_equal(n, n_expected);
}

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void test_ipv4(void **state)
{
	static const char *const expected[] = {
	        DEFAULT_PATH,
	        "PROXY_PORT=25",
	        "PROXY_INTERFACE=192.168.1.1",
	        "PROXY_CLIENT=192.168.1.7",
	        "PROXY_CLIENTNAME=mail.test",
	        "PROXY_CLIENTPORT=51234",
	        "PROTO=TCP",
	        "TCPLOCALIP=192.168.1.1",
	        "TCPLOCALPORT=25",
	        "TCPREMOTEIP=192.168.1.7",
	        "TCPREMOTEPORT=51234",
	        "TCPREMOTEHOST=mail.test",
	        NULL,
	};
	struct program_client c = make_client("192.168.1.1", "192.168.1.7", "mail.test");
	char **env = program_env(&section, &c, NULL);

	check_env(env, expected);
	program_env_free(env);
}

static void test_ipv6_without_a_name(void **state)
{
	static const char *const expected[] = {
	        DEFAULT_PATH,
	        "PROXY_PORT=25",
	        "PROXY_INTERFACE=fd00::1",
	        "PROXY_CLIENT=fd00::7",
	        "PROXY_CLIENTNAME=fd00::7",
	        "PROXY_CLIENTPORT=51234",
	        "PROTO=TCP6",
	        "TCPLOCALIP=fd00::1",
	        "TCPLOCALPORT=25",
	        "TCPREMOTEIP=fd00::7",
	        "TCPREMOTEPORT=51234",
	        "TCP6LOCALIP=fd00::1",
	        "TCP6LOCALPORT=25",
	        "TCP6REMOTEIP=fd00::7",
	        "TCP6REMOTEPORT=51234",
	        NULL,
	};
	struct program_client c = make_client("fd00::1", "fd00::7", "");
	char **env = program_env(&section, &c, NULL);

	check_env(env, expected);
	program_env_free(env);
}

static void test_link_local(void **state)
{
	struct program_client c = make_client("fe80::1", "fe80::7", "six.test");
	char **env;

	c.client.scope = if_nametoindex("lo"); /* 1 */
	env = program_env(&section, &c, NULL);
	assert_string_equal(get(env, "TCP6INTERFACE"), "lo");
	assert_string_equal(get(env, "TCPREMOTEIP"), "fe80::7");
	assert_string_equal(get(env, "TCP6REMOTEHOST"), "six.test");
	assert_string_equal(get(env, "PROXY_CLIENT"), "fe80::7%1");
	program_env_free(env);
}

static void test_mapped_address_is_ipv4(void **state)
{
	struct program_client c = make_client("::ffff:10.0.0.1", "::ffff:10.0.0.7", "");
	char **env = program_env(&section, &c, NULL);

	assert_string_equal(get(env, "PROXY_CLIENT"), "10.0.0.7");
	assert_string_equal(get(env, "PROTO"), "TCP");
	assert_null(get(env, "TCP6REMOTEIP"));
	program_env_free(env);
}

static void test_prefix_and_server(void **state)
{
	struct server server = {.kind = SERVER_HOST, .host = "mail.internal", .port = 2525};
	struct program_client c = make_client("10.0.0.1", "10.0.0.7", "");
	char **env;

	section.env_prefix = "MY_";
	c.server = &server;
	env = program_env(&section, &c, NULL);
	assert_string_equal(get(env, "MY_SERVER"), "mail.internal");
	assert_string_equal(get(env, "MY_SERVERPORT"), "2525");
	assert_string_equal(get(env, "MY_CLIENT"), "10.0.0.7");
	assert_null(get(env, "PROXY_CLIENT"));
	program_env_free(env);

	server.port = 0; /* the port on which the client was accepted */
	env = program_env(&section, &c, NULL);
	assert_string_equal(get(env, "MY_SERVERPORT"), "25");
	program_env_free(env);

	server = (struct server){.kind = SERVER_UNIX, .path = "/run/x", .key = "unix:/run/x"};
	env = program_env(&section, &c, NULL);
	assert_string_equal(get(env, "MY_SERVER"), "unix:/run/x");
	assert_null(get(env, "MY_SERVERPORT"));
	program_env_free(env);
}

static void test_client_behind_a_pipe(void **state)
{
	static const char *const expected[] = {DEFAULT_PATH, NULL};
	struct program_client c = {.client.family = AF_UNIX, .name = ""};
	char **env = program_env(&section, &c, NULL);

	check_env(env, expected);
	program_env_free(env);
}

static void test_inherited(void **state)
{
	char *inherited[] = {"HOME=/root", "PATH=/bin",    "TZ=UTC",      "LC_ALL=C", "LD_PRELOAD=/x.so",
	                     "LANG=de_DE", "LISTEN_FDS=1", "LANGUAGE=de", "TZDIR=/x", "BROKEN",
	                     NULL};
	static const char *const expected[] = {"PATH=/bin", "TZ=UTC", "LC_ALL=C", "LANG=de_DE", NULL};
	struct program_client c = {.name = ""};
	char **env = program_env(&section, &c, inherited);

	check_env(env, expected);
	program_env_free(env);
}

static void test_own_variables_win(void **state)
{
	char *own[] = {"PATH=/opt/bin", "PROXY_CLIENT=somebody", "EMPTY=", "A=b=c", NULL};
	struct program_client c = make_client("10.0.0.1", "10.0.0.7", "");
	char **env;

	section.env = own;
	env = program_env(&section, &c, NULL);
	assert_string_equal(get(env, "PATH"), "/opt/bin");
	assert_string_equal(get(env, "PROXY_CLIENT"), "somebody");
	assert_string_equal(get(env, "EMPTY"), "");
	assert_string_equal(get(env, "A"), "b=c");
	program_env_free(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_ipv4, reset),
	        cmocka_unit_test_setup(test_ipv6_without_a_name, reset),
	        cmocka_unit_test_setup(test_link_local, reset),
	        cmocka_unit_test_setup(test_mapped_address_is_ipv4, reset),
	        cmocka_unit_test_setup(test_prefix_and_server, reset),
	        cmocka_unit_test_setup(test_client_behind_a_pipe, reset),
	        cmocka_unit_test_setup(test_inherited, reset),
	        cmocka_unit_test_setup(test_own_variables_win, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
