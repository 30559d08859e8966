#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include "base/addr.h"
#include "base/mem.h"

static struct addr parsed(const char *text)
{
	struct addr a;

	if (!addr_parse(text, &a))
		fail_msg("%s is an address", text);
	return a;
}

static struct cidr network(const char *text)
{
	struct cidr c;

	if (!cidr_parse(text, &c))
		fail_msg("%s is a network", text);
	return c;
}

static void assert_printed(const char *text, const char *wanted)
{
	struct addr a = parsed(text);
	char buf[ADDR_TEXT_MAX];

	assert_string_equal(addr_format(&a, buf), wanted);
	assert_int_equal(a.port, 0);
}

static void addresses_are_parsed_and_printed(void **state)
{
	assert_printed("1.2.3.4", "1.2.3.4");
	assert_printed("0.0.0.0", "0.0.0.0");
	assert_printed("255.255.255.255", "255.255.255.255");
	assert_printed("::", "::");
	assert_printed("[::1]", "::1");
	assert_printed("2001:DB8:0:0::1", "2001:db8::1");
	assert_printed("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8");
	assert_printed("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

static void what_is_no_address_is_refused(void **state)
{
	static const char *const bad[] = {
	        "",
	        "a",
	        "1.2.3",
	        "1.2.3.4.5",
	        "256.1.1.1",
	        "1.2.3.4 ",
	        " 1.2.3.4",
	        "01.2.3.4",
	        "1.2.3.4:80",
	        "[1.2.3.4]",
	        "[::1",
	        "::1]",
	        "[]",
	        "[",
	        "]",
	        ":",
	        ":::",
	        "1::2::3",
	        "g::",
	        "12345::",
	        "::1/64",
	        "fe80::1%",
	        "fe80::1%0",
	        "fe80::1%nosuchif",
	        "%1",
	        "fe80::1%1x",
	        "fe80::1%-1",
	        "localhost",
	        "[::1]:80",
	        "fe80::1%4294967297",
	        "1:2:3:4:5:6:7:8:9",
	        "11111:22222:33333:44444:55555:66666:77777:88888:99999:aaaaa",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct addr a;

		memset(&a, 0x5a, sizeof(a));
		if (addr_parse(bad[i], &a))
			fail_msg("\"%s\" is no address", bad[i]);
		assert_int_equal(a.family, 0x5a5a); /* untouched */
	}
}

static void mapped_addresses_are_ipv4(void **state)
{
	struct addr a = parsed("::ffff:10.0.0.1"), b = parsed("10.0.0.1");

	assert_int_equal(a.family, AF_INET);
	assert_true(addr_same_host(&a, &b));
	assert_memory_equal(a.ip, b.ip, sizeof(a.ip));
	assert_printed("[::ffff:1.2.3.4]", "1.2.3.4");
	assert_printed("::1.2.3.4", "::1.2.3.4"); /* compatible, long dead: another thing */
}

static void scopes_are_kept_where_they_mean_something(void **state)
{
	char text[64];
	unsigned lo = if_nametoindex("lo");
	struct addr a = parsed("fe80::1%lo"), b = parsed("fe80::1"), c;

	assert_int_equal(a.scope, lo);
	assert_false(addr_same_host(&a, &b));
	snprintf(text, sizeof(text), "fe80::1%%%u", lo);
	assert_printed("[fe80::1%lo]", text);
	c = parsed(text);
	assert_true(addr_same_host(&a, &c));
	/* the kernel tells no scope of these: with one they would match nothing */
	assert_int_equal(parsed("::1%lo").scope, 0);
	assert_int_equal(parsed("::ffff:1.2.3.4%lo").scope, 0);
}

static void assert_zone(const char *text, const char *zone, uint32_t scope, const char *wanted)
{
	char got[ADDR_ZONE_MAX], buf[ADDR_TEXT_MAX];
	struct addr a;
	struct cidr c;

	assert_true(addr_parse_zone(text, &a, got));
	assert_string_equal(got, zone);
	assert_int_equal(a.scope, scope);
	assert_string_equal(addr_format_zone(&a, got, buf), wanted);
	assert_true(cidr_parse_zone(text, &c, got));
	assert_string_equal(got, zone);
	assert_string_equal(cidr_format_zone(&c, got, buf), wanted);
}

/* What is kept keeps the name: the interface may come, go and come again. */
static void the_name_of_a_zone_is_kept(void **state)
{
	static const char *const bad[] = {
	        "fe80::1%",    "fe80::1%0",   "fe80::1%4294967295",       "fe80::1%a/b", "fe80::1%a b",
	        "fe80::1%a%b", "fe80::1%a:b", "fe80::1%sixteenletters16", "1.2.3.4%lo"};
	char zone[ADDR_ZONE_MAX], buf[ADDR_TEXT_MAX];
	struct addr a;
	struct cidr c;

	assert_zone("fe80::1%nosuchif", "nosuchif", ADDR_NO_SCOPE, "fe80::1%nosuchif");
	assert_zone("[fe80::1%lo]", "lo", ADDR_NO_SCOPE, "fe80::1%lo");
	assert_zone("fe80::1%7", "", 7, "fe80::1%7");
	assert_zone("fe80::1", "", 0, "fe80::1");
	assert_zone("::1%lo", "", 0, "::1"); /* means nothing there */
	assert_zone("1.2.3.4", "", 0, "1.2.3.4");
	assert_true(cidr_parse_zone("fe80::77%ve0/64", &c, zone));
	assert_string_equal(cidr_format_zone(&c, zone, buf), "fe80::%ve0/64");
	assert_true(addr_parse_zone("fe80::1%exactly15letter", &a, zone));
	a.port = 65535;
	assert_string_equal(addr_format_zone_port(&a, zone, buf), "[fe80::1%exactly15letter]:65535");
	assert_string_equal(addr_format_port(&a, buf), "[fe80::1]:65535"); /* which index, nobody knows */
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (addr_parse_zone(bad[i], &a, zone))
			fail_msg("\"%s\" is no address", bad[i]);
	a = parsed("fe80::1%7");
	assert_false(cidr_contains(&c, &a));
}

static void ports_and_brackets_are_printed(void **state)
{
	struct addr v4 = parsed("1.2.3.4"), v6 = parsed("fe80::1%1");
	struct addr none = {.family = AF_UNSPEC, .port = 7}, local = {.family = AF_UNIX, .port = 7};
	char buf[ADDR_TEXT_MAX];

	v4.port = 25;
	v6.port = 65535;
	assert_string_equal(addr_format_port(&v4, buf), "1.2.3.4:25");
	assert_string_equal(addr_format_port(&v6, buf), "[fe80::1%1]:65535");
	assert_string_equal(addr_format_bracket(&v4, buf), "1.2.3.4");
	assert_string_equal(addr_format_bracket(&v6, buf), "[fe80::1%1]");
	assert_string_equal(addr_format(&none, buf), "-");
	assert_string_equal(addr_format_port(&none, buf), "-");
	assert_string_equal(addr_format_port(&local, buf), "unix");
	/* the longest there is */
	memset(v6.ip, 0xff, sizeof(v6.ip));
	v6.scope = ADDR_PLACE - 1; /* one of a place is not said */
	assert_string_equal(addr_format_port(&v6, buf), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%2147483647]:65535");
}

static void assert_network(const char *text, const char *wanted)
{
	struct cidr c = network(text);
	char buf[ADDR_TEXT_MAX];

	assert_string_equal(cidr_format(&c, buf), wanted);
}

static void networks_are_parsed_and_printed(void **state)
{
	assert_network("192.168.0.0/16", "192.168.0.0/16");
	assert_network("192.168.255.255/17", "192.168.128.0/17"); /* host bits are cleared */
	assert_network("10.1.2.3/0", "0.0.0.0/0");
	assert_network("10.1.2.3/1", "0.0.0.0/1");
	assert_network("10.1.2.3/31", "10.1.2.2/31");
	assert_network("10.1.2.3/32", "10.1.2.3");
	assert_network("10.1.2.3", "10.1.2.3");
	assert_network("fd12:3456::1/8", "fd00::/8");
	assert_network("::1/0", "::/0");
	assert_network("::1/128", "::1");
	assert_network("2001:db8:0:ff::/63", "2001:db8:0:fe::/63");
	assert_network("::ffff:10.1.2.3/104", "10.0.0.0/8");
	assert_network("::ffff:10.1.2.3/128", "10.1.2.3");
	assert_network("[fd00::1]/64", "fd00::/64");
}

static void what_is_no_network_is_refused(void **state)
{
	static const char *const bad[] = {
	        "",
	        "/",
	        "/8",
	        "10.0.0.0/",
	        "10.0.0.0/33",
	        "10.0.0.0/-1",
	        "::/129",
	        "10.0/8",
	        "10.0.0.0/8/8",
	        "10.0.0.0/8 ",
	        "10.0.0.0/ 8",
	        "10.0.0.0/+8",
	        "all",
	        "10.0.0.0/0x8",
	        "::ffff:10.0.0.0/95",
	        "::ffff:10.0.0.0/129",
	        "10.0.0.0/255.0.0.0",
	        "10.0.0.0/18446744073709551624",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct cidr c;

		if (cidr_parse(bad[i], &c))
			fail_msg("\"%s\" is no network", bad[i]);
	}
}

static bool holds(const char *net, const char *text)
{
	struct cidr c = network(net);
	struct addr a = parsed(text);

	return cidr_contains(&c, &a);
}

static void networks_hold_addresses(void **state)
{
	struct cidr all = {.net.family = AF_UNSPEC};
	struct addr local = {.family = AF_UNIX}, a = parsed("::1");

	assert_true(holds("10.0.0.0/8", "10.255.0.1"));
	assert_false(holds("10.0.0.0/8", "11.0.0.0"));
	assert_true(holds("10.0.0.0/8", "::ffff:10.0.0.1"));
	assert_true(holds("0.0.0.0/0", "255.1.1.1"));
	assert_false(holds("0.0.0.0/0", "::1"));
	assert_false(holds("::/0", "1.2.3.4")); /* an IPv4 client of a dual socket is IPv4 */
	assert_true(holds("10.0.0.1", "10.0.0.1"));
	assert_false(holds("10.0.0.1", "10.0.0.0"));
	assert_true(holds("fd00::/9", "fd7f:ffff::1"));
	assert_false(holds("fd00::/9", "fd80::1"));
	assert_true(holds("fe80::/10", "fe80::1%lo")); /* on whatever link */
	assert_true(holds("fe80::1%1", "fe80::1%1"));
	assert_false(holds("fe80::1%1", "fe80::1%2"));
	assert_true(cidr_contains(&all, &a));
	assert_true(cidr_contains(&all, &local));
}

static void a_client_is_an_address_or_a_64(void **state)
{
	struct addr a = parsed("10.1.2.3"), b = parsed("2001:db8:1:2:3:4:5:6");
	struct addr c = parsed("2001:db8:1:2::"), net;

	a.port = b.port = 4711;
	net = addr_client_network(&a);
	assert_int_equal(net.port, 0);
	assert_true(addr_same_host(&net, &a));
	net = addr_client_network(&b);
	assert_int_equal(net.port, 0);
	assert_true(addr_same_host(&net, &c));
}

static void the_kernel_s_form_and_back(void **state)
{
	static const char *const texts[] = {"1.2.3.4", "2001:db8::1", "fe80::1%1", "0.0.0.0"};
	struct sockaddr_storage sa;
	struct addr back, none = {.family = AF_UNSPEC};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct addr a = parsed(texts[i]);
		socklen_t len;

		a.port = 8080;
		len = addr_to_sockaddr(&a, &sa);
		assert_int_equal(len, a.family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
		addr_from_sockaddr((struct sockaddr *)&sa, len, &back);
		assert_memory_equal(&a, &back, sizeof(a));
		addr_from_sockaddr((struct sockaddr *)&sa, len - 1, &back); /* cut short */
		assert_int_equal(back.family, AF_UNSPEC);
	}
	assert_int_equal(addr_to_sockaddr(&none, &sa), 0);
	addr_from_sockaddr((struct sockaddr *)&sa, 0, &back);
	assert_int_equal(back.family, AF_UNSPEC);
	sa.ss_family = AF_UNIX;
	addr_from_sockaddr((struct sockaddr *)&sa, sizeof(sa_family_t), &back);
	assert_int_equal(back.family, AF_UNIX);
}

static void an_ipv4_client_of_an_ipv6_socket_is_ipv4(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(25)};
	struct addr a, b = parsed("192.0.2.1");

	inet_pton(AF_INET6, "::ffff:192.0.2.1", &in6.sin6_addr);
	addr_from_sockaddr((struct sockaddr *)&in6, sizeof(in6), &a);
	assert_true(addr_same_host(&a, &b));
	assert_int_equal(a.port, 25);
}

static void wildcards(void **state)
{
	struct addr a = parsed("0.0.0.0"), b = parsed("::"), c = parsed("::1");
	struct addr none = {.family = AF_UNSPEC};

	assert_true(addr_is_wildcard(&a));
	assert_true(addr_is_wildcard(&b));
	assert_false(addr_is_wildcard(&c));
	assert_false(addr_is_wildcard(&none));
}

static void loopback(void **state)
{
	struct addr a = parsed("127.0.0.1"), b = parsed("127.255.1.2"), c = parsed("::1");
	struct addr d = parsed("128.0.0.1"), e = parsed("::2"), f = parsed("::"), none = {.family = AF_UNSPEC};

	assert_true(addr_is_loopback(&a) && addr_is_loopback(&b) && addr_is_loopback(&c));
	assert_false(addr_is_loopback(&d) || addr_is_loopback(&e) || addr_is_loopback(&f) || addr_is_loopback(&none));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(addresses_are_parsed_and_printed),
	        cmocka_unit_test(what_is_no_address_is_refused),
	        cmocka_unit_test(mapped_addresses_are_ipv4),
	        cmocka_unit_test(scopes_are_kept_where_they_mean_something),
	        cmocka_unit_test(the_name_of_a_zone_is_kept),
	        cmocka_unit_test(ports_and_brackets_are_printed),
	        cmocka_unit_test(networks_are_parsed_and_printed),
	        cmocka_unit_test(what_is_no_network_is_refused),
	        cmocka_unit_test(networks_hold_addresses),
	        cmocka_unit_test(a_client_is_an_address_or_a_64),
	        cmocka_unit_test(the_kernel_s_form_and_back),
	        cmocka_unit_test(an_ipv4_client_of_an_ipv6_socket_is_ipv4),
	        cmocka_unit_test(wildcards),
	        cmocka_unit_test(loopback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
