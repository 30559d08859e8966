#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ares.h>
#include <stdlib.h>
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
        /* one family is answered, the other is not, or not yet */
        {"four.test", DNS_NO_AAAA, NULL, 0},
        {"four.test", DNS_A, "10.0.0.5", 30},
        {"six-only.test", DNS_NO_A, NULL, 0},
        {"six-only.test", DNS_AAAA, "fd00::5", 30},
        {"later.test", DNS_LATE_AAAA, NULL, 400},
        {"later.test", DNS_A, "10.0.0.6", 30},
        {"later.test", DNS_AAAA, "fd00::6", 20},
        {"soon.test", DNS_LATE_AAAA, NULL, 20},
        {"soon.test", DNS_A, "10.0.0.7", 30},
        {"soon.test", DNS_AAAA, "fd00::7", 20},
        {"late-six.test", DNS_LATE_AAAA, NULL, 200},
        {"late-six.test", DNS_AAAA, "fd00::8", 20},
        {"failing.test", DNS_FAIL_AAAA, NULL, 0},
        {"failing.test", DNS_A, "10.0.0.8", 30},
        {"neither.test", DNS_FAIL_AAAA, NULL, 0},
        {"neither.test", DNS_PTR, "x", 0},
        /* behind a search list */
        {"www.two.test", DNS_A, "10.0.2.1", 30},
        {"mixed.one.test", DNS_AAAA, "fd00::21", 30},
        {"mixed.two.test", DNS_A, "10.0.2.2", 30},
        {"as.it.is", DNS_AAAA, "fd00::22", 30},
        {"as.it.is.one.test", DNS_A, "10.0.2.3", 30},
        {"a.b.two.test", DNS_A, "10.0.2.4", 30},
        {"half.one.test", DNS_NO_AAAA, NULL, 0},
        {"half.one.test", DNS_A, "10.0.2.5", 30},
        {"half.two.test", DNS_AAAA, "fd00::25", 30},
        {"undecided.one.test", DNS_LATE_AAAA, NULL, 200},
        {"undecided.one.test", DNS_AAAA, "fd00::26", 30},
        {"undecided.two.test", DNS_A, "10.0.2.6", 30},
        /* honest clients */
        {"7.1.0.10.in-addr.arpa", DNS_PTR, "Mail.Example.test", 60},
        {"mail.example.test", DNS_A, "10.0.1.6", 60},
        {"mail.example.test", DNS_A, "10.0.1.7", 60},
        {"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", DNS_PTR, "six.test", 60},
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
	bool more;
	uint16_t unanswered;
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
	assert_int_equal(resolver_new(&(struct resolver_setup){.loop = &f.loop}, &server, 1, &f.resolver), 0);
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
	f->more = result->more;
	f->unanswered = result->unanswered;
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

/* ---- one family is not answered ---- */

static void assert_addrs(const struct fixture *f, const char *first, const char *second)
{
	struct addr a;

	assert_int_equal(f->error, 0);
	assert_int_equal(f->n, second ? 2 : 1);
	assert_true(addr_parse(first, &a));
	assert_true(addr_same_host(&f->addrs[0], &a));
	if (second) {
		assert_true(addr_parse(second, &a));
		assert_true(addr_same_host(&f->addrs[1], &a));
	}
}

static void test_a_family_that_is_not_answered_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	int64_t start = clock_mono_ms();

	resolve_host(f->resolver, "four.test", on_host, f);
	wait_calls(f, 1);
	assert_addrs(f, "10.0.0.5", NULL);
	assert_true(f->more);
	assert_int_equal(f->unanswered, AF_INET6);
	assert_int_equal(f->ttl_s, 30);
	assert_in_range(clock_mono_ms() - start, 50, 1500);
	resolve_host(f->resolver, "six-only.test", on_host, f);
	wait_calls(f, 2);
	assert_addrs(f, "fd00::5", NULL);
	assert_true(f->more);
	assert_int_equal(f->unanswered, AF_INET);
}

static void test_a_late_answer_of_the_other_family_is_told(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "later.test", on_host, f);
	wait_calls(f, 1);
	assert_addrs(f, "10.0.0.6", NULL);
	assert_true(f->more);
	wait_calls(f, 2);
	assert_addrs(f, "10.0.0.6", "fd00::6"); /* those that were told are in front */
	assert_false(f->more);
	assert_int_equal(f->unanswered, AF_UNSPEC);
	assert_int_equal(f->ttl_s, 20);
	turn_for(f, 100);
	assert_int_equal(f->calls, 2);
}

static void test_an_answer_waits_a_moment_for_the_other_family(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "soon.test", on_host, f);
	wait_calls(f, 1);
	assert_int_equal(f->n, 2);
	assert_false(f->more);
	assert_int_equal(dns_server_questions(f->server), 2);
}

/* That there is no address of this kind is an answer, but none to be told. */
static void test_no_address_of_one_family_waits_for_the_other(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "late-six.test", on_host, f);
	wait_calls(f, 1);
	assert_addrs(f, "fd00::8", NULL);
	assert_false(f->more);
	assert_int_equal(f->unanswered, AF_UNSPEC);
}

static void test_a_family_that_fails(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "failing.test", on_host, f);
	wait_calls(f, 1);
	assert_addrs(f, "10.0.0.8", NULL);
	assert_false(f->more);
	assert_int_equal(f->unanswered, AF_INET6);
	resolve_host(f->resolver, "neither.test", on_host, f); /* no IPv4 address, and who knows? */
	wait_calls(f, 2);
	assert_true(f->error && f->error != ARES_ENOTFOUND && f->error != ARES_ENODATA);
	assert_int_equal(f->n, 0);
}

static void test_cancel_between_both_answers(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "later.test", on_host, f);
	wait_calls(f, 1);
	resolve_cancel(f->resolver, f);
	turn_for(f, 600);
	assert_int_equal(f->calls, 1);
	resolve_host(f->resolver, "later.test", on_host, f);
	turn_for(f, 20);
	resolve_cancel(f->resolver, f); /* before the first one */
	turn_for(f, 600);
	assert_int_equal(f->calls, 1);
}

/* ---- the search list ---- */

static int setup_search(void **state)
{
	setenv("LOCALDOMAIN", "one.test two.test", 1);
	setup(state);
	unsetenv("LOCALDOMAIN");
	return 0;
}

static void test_the_search_list(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "www", on_host, f);
	wait_calls(f, 1);
	assert_addrs(f, "10.0.2.1", NULL);
	resolve_host(f->resolver, "a.b", on_host, f); /* tried as it is first, and last in the list */
	wait_calls(f, 2);
	assert_addrs(f, "10.0.2.4", NULL);
	resolve_host(f->resolver, "www.", on_host, f); /* it is whole */
	wait_calls(f, 3);
	assert_int_equal(f->error, ARES_ENOTFOUND);
	resolve_host(f->resolver, "nowhere", on_host, f);
	wait_calls(f, 4);
	assert_int_equal(f->error, ARES_ENOTFOUND);
}

/* Both families of a host come from the same name: one behind it in the list may be another host. */
static void test_the_families_are_of_one_name(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "mixed", on_host, f);
	wait_calls(f, 1);
	assert_addrs(f, "fd00::21", NULL);
	resolve_host(f->resolver, "as.it.is", on_host, f);
	wait_calls(f, 2);
	assert_addrs(f, "fd00::22", NULL);
	resolve_host(f->resolver, "half", on_host, f);
	wait_calls(f, 3);
	assert_addrs(f, "10.0.2.5", NULL);
	resolve_cancel(f->resolver, f);
	resolve_host(f->resolver, "undecided", on_host, f); /* the next name waits for both */
	wait_calls(f, 4);
	assert_addrs(f, "fd00::26", NULL);
}

static void test_the_hosts_file_asks_nobody(void **state)
{
	struct fixture *f = *state;

	resolve_host(f->resolver, "localhost", on_host, f);
	assert_int_equal(f->calls, 1);
	assert_true(has_addr(f, "127.0.0.1"));
	assert_false(f->more);
	assert_int_equal(f->unanswered, AF_UNSPEC);
	turn_for(f, 50);
	assert_int_equal(dns_server_questions(f->server), 0);
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
	assert_int_equal(resolver_new(&(struct resolver_setup){.loop = &f->loop}, &nobody, 1, &f->resolver), 0);
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

/* Nobody has answered in time; what comes later is not heard. */
static void test_a_question_ends(void **state)
{
	struct fixture *f = *state;
	struct addr server = dns_server_addr(f->server);
	int64_t begin = clock_mono_ms();

	resolver_free(f->resolver);
	assert_int_equal(
	        resolver_new(&(struct resolver_setup){.loop = &f->loop, .limit_ms = 200}, &server, 1, &f->resolver), 0);
	resolve_host(f->resolver, "silent.test", on_host, f);
	wait_calls(f, 1);
	assert_int_equal(f->error, ARES_ETIMEOUT);
	assert_true(f->why);
	assert_int_equal(f->n, 0);
	assert_true(clock_mono_ms() - begin >= 200);
	assert_int_equal(resolver_counts(f->resolver).n[NAME_FAILED], 1);
	resolve_host(f->resolver, "both.test", on_host, f);
	wait_calls(f, 2);
	assert_int_equal(f->n, 3);
	assert_int_equal(resolver_counts(f->resolver).n[NAME_GOOD], 1);
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
	        cmocka_unit_test_setup_teardown(test_a_question_ends, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_host_literal_and_host_file, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_host_is_asked_again, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_host_by_tcp, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_family_that_is_not_answered_is_not_waited_for, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_late_answer_of_the_other_family_is_told, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_an_answer_waits_a_moment_for_the_other_family, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_no_address_of_one_family_waits_for_the_other, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_family_that_fails, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_cancel_between_both_answers, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_the_search_list, setup_search, teardown),
	        cmocka_unit_test_setup_teardown(test_the_families_are_of_one_name, setup_search, teardown),
	        cmocka_unit_test_setup_teardown(test_the_hosts_file_asks_nobody, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_many_hosts_at_once, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_no_name_server, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_client_names, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_client_names_that_lie, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_client_without_address, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_client_time_limit_is_for_the_whole, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_free_while_asking, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
