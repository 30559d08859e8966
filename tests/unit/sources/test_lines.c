/* Which lines are servers, and lists of them. */
#include "fixture.h"

static void a_line_is_what_tcpproxy_takes(void **state)
{
	static const char *const good[] = {
	        "db1",
	        "db1:5432",
	        "10.0.0.1:80 weight=5",
	        "[fd00::1]:80 backup max=3",
	        "db1 disabled",
	        "unix:/run/x",
	        "db1:25 as one",
	        "db1:smtp",
	        "db1:5432 # the old one",
	};
	static const char *const bad[] = {
	        "",
	        "#",
	        "# db1",
	        "db1 weight=1001",
	        "db1 waight=1",
	        "db1:0",
	        "db1:99999",
	        "fd00::1:80",
	        "db1 db2",
	        "db1\nserver db2",
	        "db1\tbackup",
	        "db1\x7f",
	        "\"db1",
	        "/bin/sh -c ls",
	        "./run",
	        "\"/bin/sh\"",
	        "..",
	        ".",
	        "12345",
	        "db1:5432\rx",
	        "a b c d",
	};

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		if (!line_is_server(good[i], &why))
			fail_msg("%s: %s", good[i], why.s);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (line_is_server(bad[i], &why))
			fail_msg("%s is a server", bad[i]);
		assert_int_not_equal(why.len, 0);
	}
}

static void a_long_line_is_none(void **state)
{
	char *text = mem_alloc(LINE_LONG + 100);

	memset(text, ' ', LINE_LONG + 1);
	memcpy(text, "db1", 3);
	assert_false(line_is_server(text, &why));
	free(text);
}

static void add(const char *text)
{
	lines_add(&lines, text, strlen(text), "key");
}

static void a_list_is_sorted_and_has_each_once(void **state)
{
	add("b:1");
	add("a:1 weight=2\n");
	add("  b:1 ");
	add("c:1");
	assert_string_equal(finished(), "a:1 weight=2\nb:1\nc:1\n");
	assert_int_equal(lines.found, 4);
	assert_int_equal(lines.refused.len, 0);
}

static void what_is_left_out_is_told(void **state)
{
	add("a:1");
	add("/bin/sh");
	lines_add(&lines, "b:1\0c:1", 7, "/k\x1b[2J");
	assert_string_equal(finished(), "a:1\n");
	assert_int_equal(lines.found, 3);
	assert_string_equal(lines.refused.s, "key: \"/bin/sh\" is no server of a list: HOST[:PORT] and unix:PATH "
	                                     "are\n/k?[2J: there is a NUL in it\n");
}

static void two_of_one_name_are_no_pool(void **state)
{
	add("a:1 as db");
	add("b:1 as db");
	add("c:1 as other");
	assert_string_equal(finished(), "a:1 as db\nc:1 as other\n");
	assert_non_null(strstr(lines.refused.s, "b:1 as db: "));
}

static void an_empty_list_says_so(void **state)
{
	assert_string_equal(finished(), "none\n");
	add("none of these");
	assert_string_equal(finished(), "none\n");
	assert_int_equal(lines.found, 1);
}

static void there_are_no_more_than_a_pool_has(void **state)
{
	char text[32];

	for (unsigned i = 0; i < LINES_MAX + 5; i++) {
		snprintf(text, sizeof(text), "s%05u:1", i);
		add(text);
		add(text);
	}
	finished();
	assert_int_equal(lines.n, LINES_MAX);
	assert_string_equal(lines.list[LINES_MAX - 1], "s04095:1");
	assert_string_equal(lines.refused.s, "5 of 4101 servers: a pool has at most 4096\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(a_line_is_what_tcpproxy_takes, release),
	        cmocka_unit_test_teardown(a_long_line_is_none, release),
	        cmocka_unit_test_teardown(a_list_is_sorted_and_has_each_once, release),
	        cmocka_unit_test_teardown(what_is_left_out_is_told, release),
	        cmocka_unit_test_teardown(two_of_one_name_are_no_pool, release),
	        cmocka_unit_test_teardown(an_empty_list_says_so, release),
	        cmocka_unit_test_teardown(there_are_no_more_than_a_pool_has, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
