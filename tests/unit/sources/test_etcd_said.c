/* What etcd answers. */
#include "fixture.h"
#include <stdlib.h>
#include "sources/etcd_said.h"

#define HEADER                                                                                                      \
	"\"header\":{\"cluster_id\":\"14841639068965178418\",\"member_id\":\"1\",\"revision\":\"7\",\"raft_term\":" \
	"\"2\"}"

static struct etcd_range range;
static struct etcd_event event;

static bool reads_range(const char *text)
{
	return etcd_read_range(text, strlen(text), &range, &lines, &why);
}

static bool reads_event(const char *text)
{
	return etcd_read_event(text, strlen(text), &event, &why);
}

static void the_value_is_the_line_or_the_end_of_the_key(void **state)
{
	assert_true(reads_range(
	        "{" HEADER ",\"kvs\":["
	        "{\"key\":\"L2RiL2E6MQ==\",\"mod_revision\":\"5\",\"value\":\"YToxIHdlaWdodD0y\"}," /* /db/a:1 */
	        "{\"key\":\"L2RiL2I6MQ==\",\"mod_revision\":\"3\"}],\"count\":\"2\"}"));            /* /db/b:1 */
	assert_string_equal(finished(), "a:1 weight=2\nb:1\n");
	assert_true(range.revision == 7 && range.cluster == 14841639068965178418u);
	assert_true(range.count == 2 && range.sent == 2 && range.newest == 5);
}

static void no_keys_are_an_empty_list(void **state)
{
	assert_true(reads_range("{" HEADER "}"));
	assert_true(range.count == 0 && range.sent == 0 && range.newest == 0);
	assert_string_equal(finished(), "none\n");
}

static void a_smuggled_line_is_left_out(void **state)
{
	/* /db/a with the value "a:1\n/bin/sh", /db/b with "b:1" */
	assert_true(reads_range("{" HEADER ",\"kvs\":[{\"key\":\"L2RiL2E=\",\"value\":\"YToxCi9iaW4vc2g=\"},"
	                        "{\"key\":\"L2RiL2I=\",\"value\":\"Yjox\"}],\"count\":\"2\"}"));
	assert_string_equal(finished(), "b:1\n");
	assert_string_equal(lines.refused.s, "/db/a: there is a control character in it\n");
}

static void what_is_no_range_is_refused(void **state)
{
	static const char *const bad[] = {
	        "",
	        "null",
	        "[]",
	        "{}",
	        "7",
	        "{\"header\":{\"revision\":\"0\"}}",
	        "{\"header\":{\"revision\":\"-1\"}}",
	        "{\"header\":{\"revision\":\"x\"}}",
	        "{" HEADER ",\"kvs\":{}}",
	        "{" HEADER ",\"kvs\":[7],\"count\":\"1\"}",
	        "{" HEADER ",\"kvs\":[{}],\"count\":\"1\"}",
	        "{" HEADER ",\"kvs\":[{\"key\":\"L2Ri!\"}],\"count\":\"1\"}",
	        "{" HEADER ",\"kvs\":[{\"key\":\"L2Ri\",\"value\":3}],\"count\":\"1\"}",
	        /* more than it says there are, and none of many */
	        "{" HEADER ",\"kvs\":[{\"key\":\"L2Ri\"}],\"count\":\"0\"}",
	        "{" HEADER ",\"count\":\"3\"}",
	        "{" HEADER ",\"kvs\":[{\"key\":\"L2Ri\"}],\"count\":\"1\"",
	        "{" HEADER "}{}",
	        "{" HEADER "," HEADER "}",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (reads_range(bad[i]))
			fail_msg("%s is a range", bad[i]);
		assert_int_not_equal(why.len, 0);
	}
}

static void a_complaint_is_repeated(void **state)
{
	assert_false(
	        reads_range("{\"error\":\"etcdserver: no leader\",\"message\":\"etcdserver: no leader\",\"code\":14}"));
	assert_string_equal(why.s, "it says: etcdserver: no leader");
	assert_false(
	        reads_event("{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":\"transport is closing\"}}"));
	assert_string_equal(why.s, "it says: transport is closing");
	etcd_read_complaint("Not Found\n", 10, 404, &why);
	assert_string_equal(why.s, "it answers with HTTP 404");
	etcd_read_complaint(NULL, 0, 502, &why);
	assert_string_equal(why.s, "it answers with HTTP 502");
}

static void a_watch_tells(void **state)
{
	assert_true(reads_event("{\"result\":{" HEADER ",\"created\":true}}"));
	assert_true(event.created && !event.changed && !event.canceled && event.revision == 7);
	assert_true(
	        reads_event("{\"result\":{" HEADER ",\"events\":[{\"type\":\"DELETE\",\"kv\":{\"key\":\"L2Ri\"}}]}}"));
	assert_true(event.changed && !event.created);
	assert_true(reads_event("{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"3\"}}"));
	assert_true(event.canceled && event.compacted);
	assert_true(reads_event("{\"result\":{" HEADER
	                        ",\"created\":true,\"canceled\":true,\"cancel_reason\":\"permission denied\"}}"));
	assert_true(event.canceled && !event.compacted);
	assert_string_equal(why.s, "it says: permission denied");
	assert_true(reads_event("{\"result\":{" HEADER "}}")); /* it is still there */
	assert_false(event.changed || event.canceled || event.created);
	assert_false(reads_event("{}"));
	assert_false(reads_event("{\"result\":[]}"));
	assert_false(reads_event("{\"result\":{\"events\":7}}"));
}

static void a_token_is_one_line(void **state)
{
	struct buf token = BUF_INIT;

	assert_true(etcd_read_token("{" HEADER ",\"token\":\"abc.9\"}", strlen("{" HEADER ",\"token\":\"abc.9\"}"),
	                            &token, &why));
	assert_string_equal(token.s, "abc.9");
	assert_false(etcd_read_token("{\"token\":\"a\\r\\nb\"}", 18, &token, &why));
	assert_false(etcd_read_token("{\"token\":\"\"}", 12, &token, &why));
	assert_false(etcd_read_token("{}", 2, &token, &why));
	assert_string_equal(token.s, "abc.9");
	buf_release(&token);
}

static void a_prefix_is_a_range(void **state)
{
	etcd_range_of("/db/", &printed);
	assert_string_equal(printed.s, "\"key\":\"L2RiLw==\",\"range_end\":\"L2RiMA==\"");
	buf_clear(&printed);
	etcd_range_of("a\xff", &printed);
	assert_string_equal(printed.s, "\"key\":\"Yf8=\",\"range_end\":\"Yg==\"");
	buf_clear(&printed);
	etcd_range_of("\xff", &printed);
	assert_string_equal(printed.s, "\"key\":\"/w==\",\"range_end\":\"AA==\"");
}

static void a_password_is_quoted(void **state)
{
	char *body = etcd_login_body("me", "a\"b\\c");

	assert_string_equal(body, "{\"name\":\"me\",\"password\":\"a\\\"b\\\\c\"}");
	free(body);
	assert_null(etcd_login_body("me", "\xff"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(the_value_is_the_line_or_the_end_of_the_key, release),
	        cmocka_unit_test_teardown(no_keys_are_an_empty_list, release),
	        cmocka_unit_test_teardown(a_smuggled_line_is_left_out, release),
	        cmocka_unit_test_teardown(what_is_no_range_is_refused, release),
	        cmocka_unit_test_teardown(a_complaint_is_repeated, release),
	        cmocka_unit_test_teardown(a_watch_tells, release),
	        cmocka_unit_test_teardown(a_token_is_one_line, release),
	        cmocka_unit_test_teardown(a_prefix_is_a_range, release),
	        cmocka_unit_test_teardown(a_password_is_quoted, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
