#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ares.h>
#include <string.h>
#include "base/clock.h"
#include "dns_server.h"
#include "event/resolve.h"

static const struct dns_record zone[] = {
    {"both.test", DNS_A, "10.0.0.1", 30},
    {"both.test", DNS_A, "10.0.0.2", 300},
    {"both.test", DNS_AAAA, "fd00::1", 60},
    {"silent.test", DNS_SILENCE, NULL, 0},
    {"slow.test", DNS_SLOW, NULL, 0},
    {"slow.test", DNS_A, "10.0.0.3", 10},
    {"big.test", DNS_BIG, NULL, 0},
    {"big.test", DNS_A, "10.0.0.4", 10},
    /* honest clients */
    {"7.1.0.10.in-addr.arpa", DNS_PTR, "Mail.Example.test", 60},
    {"mail.example.test", DNS_A, "10.0.1.6", 60},
    {"mail.example.test", DNS_A, "10.0.1.7", 60},
    {"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", DNS_PTR,
     "six.test", 60},
    {"six.test", DNS_AAAA, "fd00::7", 60},
    /* the others */
    {"8.1.0.10.in-addr.arpa", DNS_PTR, "mail.example.test", 60},
    {"9.1.0.10.in-addr.arpa", DNS_PTR, "nowhere.test", 60},
    {"10.1.0.10.in-addr.arpa", DNS_PTR, "$(reboot).test", 60},
    {"$(reboot).test", DNS_A, "10.0.1.10", 60},
    {"11.1.0.10.in-addr.arpa", DNS_PTR, "-rf.test", 60},
    {"-rf.test", DNS_A, "10.0.1.11", 60},
    {"12.1.0.10.in-addr.arpa", DNS_SILENCE, NULL, 0},
    {"13.1.0.10.in-addr.arpa", DNS_PTR, "silent.test", 60},
    {0},
};

struct fixture {
	struct loop loop;
	struct dns_server *server;
	struct resolver *resolver;
	int calls;
	int error;
	bool why;
	struct addr addrs[8];
	size_t n;
	uint32_t ttl_s;
	char name[256];
};

static int setup(void **state)
{
	static struct fixture f;
	struct addr server;

	memset(&f, 0, sizeof(f));
	*state = &f;
	f.server = dns_server_start(zone);
	server = dns_server_addr(f.server);
	assert_int_equal(loop_init(&f.loop, -1, NULL, 16), 0);
	assert_int_equal(resolver_new(&f.loop, &server, 1, &f.resolver), 0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	resolver_free(f->resolver);
	assert_int_equal(f->loop.n_timers, 0);
	loop_release(&f->loop);
	dns_server_stop(f->server);
	return 0;
}

static void on_host(void *arg, const struct resolve_result *result)
{
	struct fixture *f = arg;

	f->calls++;
	f->error = result->error;
	f->why = result->why && *result->why;
	f->n = result->n;
	f->ttl_s = result->ttl_s;
	assert_true(result->n <= 8);
	if (result->n > 0)
		memcpy(f->addrs, result->addrs, result->n * sizeof(*f->addrs));
}

static void on_name(void *arg, const char *name)
{
	struct fixture *f = arg;

	f->calls++;
	strcpy(f->name, name);
}

/* Turns the loop until everything asked was answered, at most 10 s. */
static void wait_calls(struct fixture *f, int calls)
{
	int64_t until = clock_mono_ms() + 10000;

	while (f->calls < calls && clock_mono_ms() < until)
		loop_turn(&f->loop, 100);
	assert_int_equal(f->calls, calls);
}

static void turn_for(struct fixture *f, int64_t ms)
{
	int64_t until = clock_mono_ms() + ms;

	while (clock_mono_ms() < until)
		loop_turn(&f->loop, 20);
}

static bool has_addr(const struct fixture *f, const char *text)
{
	struct addr a;

	assert_true(addr_parse(text, &a));
	for (size_t i = 0; i < f->n; i++)
		if (addr_same_host(&f->addrs[i], &a) && f->addrs[i].port == 0)
			return true;
	return false;
}

static void ask_name(struct fixture *f, const char *client, int64_t timeout_ms)
{
	struct addr a;

	assert_true(addr_parse(client, &a));
	strcpy(f->name, "unset");
	resolve_client(f->resolver, &a, timeout_ms, on_name, f);
	wait_calls(f, f->calls + (strcmp(f->name, "unset") == 0));
}

static void test_host_of_both_families(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "both.test", on_host, f);
	wait_calls(f, 1);
	assert_int_equal(f->error, 0);
	assert_false(f->why);
	assert_int_equal(f->n, 3);
	assert_true(has_addr(f, "10.0.0.1") && has_addr(f, "10.0.0.2") && has_addr(f, "fd00::1"));
	assert_int_equal(f->ttl_s, 30);
}

static void test_host_unknown(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "nowhere.test", on_host, f);
	wait_calls(f, 1);
	assert_int_equal(f->error, ARES_ENOTFOUND);
	assert_true(f->why);
	assert_int_equal(f->n, 0);
}

static void test_host_literal_and_host_file(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "127.0.0.9", on_host, f);
	assert_int_equal(f->calls, 1);
	assert_true(f->n == 1 && has_addr(f, "127.0.0.9"));
	resolve_host(f->resolver, "localhost", on_host, f); /* from /etc/hosts */
	wait_calls(f, 2);
	assert_true(has_addr(f, "127.0.0.1"));
	resolve_host(f->resolver, "", on_host, f);
	wait_calls(f, 3);
	assert_int_not_equal(f->error, 0);
}

static void test_host_is_asked_again(void **state)
{
	struct fixture *f = *state;
	int64_t start = clock_mono_ms();

	resolve_host(f->resolver, "slow.test", on_host, f);
	wait_calls(f, 1);
	assert_true(f->n == 1 && has_addr(f, "10.0.0.3"));
	assert_in_range(clock_mono_ms() - start, 1500, 5900);
}

static void test_host_by_tcp(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "big.test", on_host, f);
	wait_calls(f, 1);
	assert_true(f->n == 1 && has_addr(f, "10.0.0.4"));
}

static void test_many_hosts_at_once(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 100; i++)
		resolve_host(f->resolver, "both.test", on_host, f);
	wait_calls(f, 100);
	assert_int_equal(f->n, 3);
}

static void test_no_name_server(void **state)
{
	struct fixture *f = *state;
	struct addr nobody;
	int64_t start;

	/* A port on which nothing listens refuses at once. */
	assert_true(addr_parse("127.0.0.1", &nobody));
	nobody.port = 1;
	resolver_free(f->resolver);
	assert_int_equal(resolver_new(&f->loop, &nobody, 1, &f->resolver), 0);
	start = clock_mono_ms();
	ask_name(f, "10.0.1.7", 5000);
	assert_string_equal(f->name, "");
	assert_in_range(clock_mono_ms() - start, 0, 1900);
}

static void test_client_names(void **state)
{
	struct fixture *f = *state;

	ask_name(f, "10.0.1.7", 5000);
	assert_string_equal(f->name, "mail.example.test");
	ask_name(f, "fd00::7", 5000);
	assert_string_equal(f->name, "six.test");
	ask_name(f, "10.0.1.99", 5000); /* has none */
	assert_string_equal(f->name, "");
}

static void test_client_names_that_lie(void **state)
{
	static const char *const clients[] = {"10.0.1.8", "10.0.1.9", "10.0.1.10", "10.0.1.11"};
	struct fixture *f = *state;

	for (size_t i = 0; i < 4; i++) {
		ask_name(f, clients[i], 5000);
		assert_string_equal(f->name, "");
	}
}

static void test_client_without_address(void **state)
{
	struct fixture *f = *state;
	struct addr none = {.family = AF_UNIX};

	resolve_client(f->resolver, &none, 5000, on_name, f);
	assert_int_equal(f->calls, 1);
	assert_string_equal(f->name, "");
}

static void test_client_time_limit_is_for_the_whole(void **state)
{
	static const char *const clients[] = {"10.0.1.12", "10.0.1.13"};
	struct fixture *f = *state;

	for (size_t i = 0; i < 2; i++) {
		int64_t start = clock_mono_ms();

		ask_name(f, clients[i], 300);
		assert_string_equal(f->name, "");
		assert_in_range(clock_mono_ms() - start, 290, 4000);
	}
	turn_for(f, 300);
	assert_int_equal(f->calls, 2);
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct addr client;

	assert_true(addr_parse("10.0.1.12", &client));
	resolve_host(f->resolver, "both.test", on_host, f);
	resolve_client(f->resolver, &client, 100, on_name, f);
	resolve_cancel(f->resolver, f);
	turn_for(f, 300);
	assert_int_equal(f->calls, 0);
}

static void test_free_while_asking(void **state)
{
	struct fixture *f = *state;
	struct addr client;

	assert_true(addr_parse("10.0.1.12", &client));
	for (int i = 0; i < 10; i++) {
		resolve_host(f->resolver, "silent.test", on_host, f);
		resolve_client(f->resolver, &client, 5000, on_name, f);
	}
	turn_for(f, 50);
	resolver_free(f->resolver);
	f->resolver = NULL;
	assert_int_equal(f->calls, 0);
	assert_int_equal(f->loop.n_timers, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_host_of_both_families, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_host_unknown, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_host_literal_and_host_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_host_is_asked_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_host_by_tcp, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_many_hosts_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_name_server, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_client_names, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_client_names_that_lie, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_client_without_address, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_client_time_limit_is_for_the_whole, setup,
	                                    teardown),
	    cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_free_while_asking, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
