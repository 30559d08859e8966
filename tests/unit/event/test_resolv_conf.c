/* Whom a resolver asks, when that changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "dns_server.h"
#include "event/resolve.h"

static const struct dns_record first_zone[] = {
        {"host.test", DNS_A, "10.0.1.1", 30},    {"slow.test", DNS_LATE_A, NULL, 300},
        {"slow.test", DNS_A, "10.0.1.2", 30},    {"www.one.test", DNS_A, "10.0.1.3", 30},
        {"www.two.test", DNS_A, "10.0.1.4", 30}, {"a.b", DNS_A, "10.0.1.5", 30},
        {"a.b.one.test", DNS_A, "10.0.1.6", 30}, {"9.0.0.10.in-addr.arpa", DNS_PTR, "first.test", 60},
        {"first.test", DNS_A, "10.0.0.9", 60},   {0},
};

static const struct dns_record second_zone[] = {
        {"host.test", DNS_A, "10.0.2.1", 30},
        {"slow.test", DNS_A, "10.0.2.2", 30},
        {"9.0.0.10.in-addr.arpa", DNS_PTR, "second.test", 60},
        {"second.test", DNS_A, "10.0.0.9", 60},
        {0},
};

struct fixture {
	struct loop loop;
	struct dns_server *first, *second; /* 127.0.0.1 and 127.0.0.2, the same port */
	struct resolver *resolver;
	char path[64];
	int fds_before;
	int calls;
	char answer[64]; /* an address, or a name */
	int lines;
	char line[512]; /* the last one */
};

static struct fixture f;

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void take_line(void *arg, enum log_level level, const char *line)
{
	f.lines++;
	snprintf(f.line, sizeof(f.line), "%s", line);
}

static void write_file(const char *text)
{
	FILE *file = fopen(f.path, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
	struct resolver_setup what = {.loop = &f.loop, .purpose = "names of tests", .resolv_conf = f.path};
	struct addr second;
	int fd;

	memset(&f, 0, sizeof(f));
	f.fds_before = count_fds();
	strcpy(f.path, "/tmp/test_resolv_conf.XXXXXX");
	fd = mkstemp(f.path);
	assert_true(fd >= 0);
	close(fd);
	f.first = dns_server_start(first_zone);
	second = dns_server_addr(f.first);
	what.port = second.port;
	second.ip[3] = 2;
	f.second = dns_server_start_at(second_zone, &second);
	assert_int_equal(loop_init(&f.loop, -1, NULL, 16), 0);
	log_set_sink(take_line, NULL);
	write_file("nameserver 127.0.0.1\nsearch one.test\n");
	assert_int_equal(resolver_new(&what, NULL, 0, &f.resolver), 0);
	return 0;
}

static int teardown(void **state)
{
	resolver_free(f.resolver);
	assert_int_equal(f.loop.n_timers, 0);
	loop_release(&f.loop);
	dns_server_stop(f.first);
	dns_server_stop(f.second);
	unlink(f.path);
	log_set_sink(NULL, NULL);
	assert_int_equal(count_fds(), f.fds_before);
	return 0;
}

static void on_host(void *arg, const struct resolve_result *result)
{
	f.calls++;
	strcpy(f.answer, "none");
	if (result->n > 0)
		addr_format(&result->addrs[0], f.answer);
}

static void on_name(void *arg, const char *name)
{
	f.calls++;
	snprintf(f.answer, sizeof(f.answer), "%s", name);
}

static void wait_calls(int calls)
{
	int64_t until = clock_mono_ms() + 10000;

	while (f.calls < calls && clock_mono_ms() < until)
		loop_turn(&f.loop, 100);
	assert_int_equal(f.calls, calls);
}

static void expect(const char *host, const char *answer)
{
	resolve_host(f.resolver, host, on_host, &f);
	wait_calls(f.calls + 1);
	assert_string_equal(f.answer, answer);
}

static void another_name_server(void **state)
{
	expect("host.test", "10.0.1.1");
	expect("host.test", "10.0.1.1");
	assert_int_equal(f.lines, 0);
	write_file("nameserver 127.0.0.2\n");
	expect("host.test", "10.0.2.1");
	assert_int_equal(f.lines, 1);
	assert_non_null(strstr(f.line, "names of tests"));
	assert_non_null(strstr(f.line, f.path));
	assert_non_null(strstr(f.line, "127.0.0.2"));
	expect("host.test", "10.0.2.1");
	assert_int_equal(f.lines, 1);
}

/* Written again with the same text, as at each renewal of a lease. */
static void nothing_new(void **state)
{
	write_file("# anew\nnameserver 127.0.0.1\nsearch one.test\n");
	assert_false(resolver_refresh(f.resolver));
	expect("host.test", "10.0.1.1");
	expect("www", "10.0.1.3");
	assert_int_equal(f.lines, 0);
	write_file("nameserver 127.0.0.1\nsearch one.test\noptions rotate\n");
	assert_true(resolver_refresh(f.resolver));
}

/* As a manager of networks does it: written beside, then renamed. */
static void another_file_in_its_place(void **state)
{
	char beside[72];
	FILE *file;

	snprintf(beside, sizeof(beside), "%s.new", f.path);
	file = fopen(beside, "w");
	assert_non_null(file);
	fputs("nameserver 127.0.0.2\n", file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(beside, f.path), 0);
	expect("host.test", "10.0.2.1");
}

static void the_name_of_a_client(void **state)
{
	struct addr client;

	assert_true(addr_parse("10.0.0.9", &client));
	resolve_client(f.resolver, &client, 5000, on_name, &f);
	wait_calls(1);
	assert_string_equal(f.answer, "first.test");
	write_file("nameserver 127.0.0.2\n");
	resolve_client(f.resolver, &client, 5000, on_name, &f);
	wait_calls(2);
	assert_string_equal(f.answer, "second.test");
}

static void another_search_list(void **state)
{
	expect("www", "10.0.1.3");
	write_file("nameserver 127.0.0.1\nsearch two.test\n");
	expect("www", "10.0.1.4");
}

static void other_options(void **state)
{
	expect("a.b", "10.0.1.5");
	write_file("nameserver 127.0.0.1\nsearch one.test\noptions ndots:2\n");
	expect("a.b", "10.0.1.6");
}

static void questions_under_way_end_where_they_began(void **state)
{
	resolve_host(f.resolver, "slow.test", on_host, &f);
	write_file("nameserver 127.0.0.2\n");
	expect("host.test", "10.0.2.1");
	wait_calls(2);
	assert_string_equal(f.answer, "10.0.1.2");
	loop_turn(&f.loop, 10);
	expect("slow.test", "10.0.2.2");
}

static void freed_while_an_old_one_is_asked(void **state)
{
	resolve_host(f.resolver, "slow.test", on_host, &f);
	write_file("nameserver 127.0.0.2\n");
	resolve_host(f.resolver, "host.test", on_host, &f);
	resolver_free(f.resolver);
	f.resolver = NULL;
	assert_int_equal(f.calls, 0);
}

static void a_file_that_vanishes_holds(void **state)
{
	unlink(f.path);
	expect("host.test", "10.0.1.1");
	assert_int_equal(f.lines, 0);
	write_file("nameserver 127.0.0.2\n");
	expect("host.test", "10.0.2.1");
	assert_int_equal(f.lines, 1);
}

static void a_file_that_comes_late(void **state)
{
	struct resolver_setup what = {.loop = &f.loop,
	                              .purpose = "names of tests",
	                              .resolv_conf = f.path,
	                              .port = dns_server_addr(f.first).port};

	resolver_free(f.resolver);
	unlink(f.path);
	assert_int_equal(resolver_new(&what, NULL, 0, &f.resolver), 0);
	write_file("nameserver 127.0.0.2\n");
	expect("host.test", "10.0.2.1");
}

static void asked_to_look(void **state)
{
	assert_false(resolver_refresh(f.resolver));
	write_file("nameserver 127.0.0.2\n");
	assert_true(resolver_refresh(f.resolver));
	assert_false(resolver_refresh(f.resolver));
	assert_int_equal(f.lines, 1);
	expect("host.test", "10.0.2.1");
}

/* The file is of no interest as long as name servers are named. */
static void name_servers_that_are_named(void **state)
{
	struct addr named = dns_server_addr(f.first);

	assert_int_equal(resolver_set_servers(f.resolver, &named, 1), 1);
	assert_int_equal(resolver_set_servers(f.resolver, &named, 1), 0);
	write_file("nameserver 127.0.0.2\n");
	expect("host.test", "10.0.1.1");
	assert_false(resolver_refresh(f.resolver));
	assert_int_equal(f.lines, 0);
	named = dns_server_addr(f.second);
	assert_int_equal(resolver_set_servers(f.resolver, &named, 1), 1);
	expect("host.test", "10.0.2.1");
	write_file("nameserver 127.0.0.1\n# of another size\n");
	assert_int_equal(resolver_set_servers(f.resolver, NULL, 0), 1);
	expect("host.test", "10.0.1.1");
	assert_int_equal(f.lines, 0);
	write_file("nameserver 127.0.0.2\n");
	assert_int_equal(resolver_set_servers(f.resolver, NULL, 0), 1);
	expect("host.test", "10.0.2.1");
	assert_int_equal(f.lines, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(another_name_server),
	        TEST(nothing_new),
	        TEST(another_file_in_its_place),
	        TEST(the_name_of_a_client),
	        TEST(another_search_list),
	        TEST(other_options),
	        TEST(questions_under_way_end_where_they_began),
	        TEST(freed_while_an_old_one_is_asked),
	        TEST(a_file_that_vanishes_holds),
	        TEST(a_file_that_comes_late),
	        TEST(asked_to_look),
	        TEST(name_servers_that_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
