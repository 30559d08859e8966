/* RFC 6724, section 10.2, as far as it is about two families; and what is not in its examples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "event/prefer.h"

static struct way way(const char *to, const char *from)
{
	struct way w = {.from = {.family = AF_UNSPEC}};

	assert_true(addr_parse(to, &w.to));
	if (from)
		assert_true(addr_parse(from, &w.from));
	return w;
}

static int compare(const char *a, const char *from_a, const char *b, const char *from_b)
{
	struct way x = way(a, from_a), y = way(b, from_b);
	int result = prefer_compare(&x, &y);

	assert_int_equal((result > 0) - (result < 0), (prefer_compare(&y, &x) < 0) - (prefer_compare(&y, &x) > 0));
	return result;
}

#define FIRST(a, from_a, b, from_b) assert_true(compare(a, from_a, b, from_b) < 0)
#define EQUAL(a, from_a, b, from_b) assert_int_equal(compare(a, from_a, b, from_b), 0)

static void what_cannot_be_reached_comes_last(void **state)
{
	FIRST("198.51.100.121", "198.51.100.117", "2001:db8:1::1", NULL);
	FIRST("2001:db8:1::1", "2001:db8:1::2", "198.51.100.121", NULL);
	EQUAL("2001:db8:1::1", NULL, "198.51.100.121", NULL);
}

static void the_scope_of_the_source(void **state)
{
	FIRST("2001:db8:1::1", "2001:db8:1::2", "198.51.100.121", "169.254.13.78");
	FIRST("198.51.100.121", "198.51.100.117", "2001:db8:1::1", "fe80::1");
}

static void ipv6_if_nothing_is_said_against_it(void **state)
{
	FIRST("2001:db8:1::1", "2001:db8:1::2", "10.1.2.3", "10.1.2.4");
	FIRST("::1", "::1", "127.0.0.1", "127.0.0.1");
}

static void the_label_of_the_source(void **state)
{
	/* native to 6to4, against IPv4 to IPv4 */
	FIRST("198.51.100.121", "198.51.100.117", "2001:db8:1::1", "2002:c633:6401::2");
	FIRST("198.51.100.121", "198.51.100.117", "fd00::1", "2001:db8:1::2");
}

static void the_policy_table(void **state)
{
	FIRST("10.1.2.3", "10.1.2.4", "2002:c633:6401::1", "2002:c633:6401::2"); /* 6to4 */
	FIRST("10.1.2.3", "10.1.2.4", "fd00::1", "fd00::2");
	FIRST("10.1.2.3", "10.1.2.4", "2001:0:c633:6401::1", "2001:0:c633:6401::2"); /* Teredo */
	FIRST("2001:db8:1::1", "2001:db8:1::2", "fd00::1", "fd00::2");
}

static void the_smaller_scope(void **state)
{
	FIRST("fe80::1", "fe80::2", "2001:db8:1::1", "2001:db8:1::2");
	EQUAL("10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.4");
}

static void the_kernel_says_where_from(void **state)
{
	struct addr four, nowhere;
	struct way w;

	assert_true(addr_parse("127.0.0.9", &four));
	w = prefer_way_to(&four);
	assert_true(addr_same_host(&w.to, &four));
	assert_true(addr_parse("127.0.0.1", &four));
	assert_true(addr_same_host(&w.from, &four));
	assert_true(addr_parse("fe80::1", &nowhere)); /* of no interface */
	assert_int_equal(prefer_way_to(&nowhere).from.family, AF_UNSPEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_cannot_be_reached_comes_last),
	        cmocka_unit_test(the_scope_of_the_source),
	        cmocka_unit_test(ipv6_if_nothing_is_said_against_it),
	        cmocka_unit_test(the_label_of_the_source),
	        cmocka_unit_test(the_policy_table),
	        cmocka_unit_test(the_smaller_scope),
	        cmocka_unit_test(the_kernel_says_where_from),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
