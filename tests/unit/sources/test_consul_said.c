/* What Consul answers. */
#include "fixture.h"
#include "sources/consul_said.h"

static bool reads(const char *text)
{
	return consul_read_instances(text, strlen(text), &lines, &why);
}

static void an_instance_is_a_line(void **state)
{
	assert_true(reads(
	        "[{\"Node\":{\"Address\":\"10.0.0.9\"},\"Service\":{\"ID\":\"a\",\"Address\":\"10.0.0.1\",\"Port\":80,"
	        "\"Weights\":{\"Passing\":5,\"Warning\":1}}},"
	        "{\"Node\":{\"Address\":\"10.0.0.9\"},\"Service\":{\"ID\":\"b\",\"Address\":\"\",\"Port\":81,"
	        "\"Weights\":{\"Passing\":1}}},"
	        "{\"Service\":{\"ID\":\"c\",\"Address\":\"fd00::1\",\"Port\":82}},"
	        "{\"Service\":{\"ID\":\"d\",\"Address\":\"db.example\",\"Port\":83,\"Weights\":{\"Passing\":65535}}}"
	        "]"));
	assert_string_equal(finished(), "10.0.0.1:80 weight=5\n10.0.0.9:81\n[fd00::1]:82\ndb.example:83 weight=1000\n");
	assert_int_equal(lines.refused.len, 0);
}

static void no_instances_are_an_empty_list(void **state)
{
	assert_true(reads("[]"));
	assert_int_equal(lines.found, 0);
	assert_string_equal(finished(), "none\n");
}

static void what_is_no_instance_is_left_out(void **state)
{
	assert_true(reads(
	        "[7,{},{\"Service\":{\"ID\":\"a\",\"Address\":\"a "
	        "b\",\"Port\":1}},{\"Service\":{\"Address\":\"a\",\"Port\":0}},"
	        "{\"Service\":{\"Address\":\"a\",\"Port\":\"80\"}},{\"Service\":{\"Address\":\"a\",\"Port\":65536}},"
	        "{\"Service\":{\"Address\":\"a\",\"Port\":1,\"Weights\":{\"Passing\":-1}}},"
	        "{\"Service\":{\"Address\":\"a\",\"Port\":1,\"Weights\":{\"Passing\":\"2\"}}},"
	        "{\"Service\":{\"Address\":\"/bin/sh\",\"Port\":1}},{\"Service\":{\"Address\":\"a\\nb\",\"Port\":1}},"
	        "{\"Service\":{\"Address\":\"a#\",\"Port\":1}},{\"Service\":{\"Address\":\"a:1 backup\",\"Port\":1}},"
	        "{\"Service\":{\"Address\":\"good\",\"Port\":1,\"Weights\":{\"Passing\":0}}}]"));
	assert_string_equal(finished(), "good:1 weight=0\n");
	assert_int_equal(lines.found, 13);
}

static void what_is_no_list_is_refused(void **state)
{
	static const char *const bad[] = {
	        "", "{}", "null", "[", "[]x", "[{\"Service\":{\"Port\":1,\"Port\":2}}]", "rpc error"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(reads(bad[i]));
		assert_int_not_equal(why.len, 0);
	}
	assert_int_equal(lines.found, 0);
}

static void an_index_is_a_number(void **state)
{
	assert_true(consul_read_index("17") == 17);
	assert_true(consul_read_index("0") == 0);
	assert_true(consul_read_index(NULL) == 0);
	assert_true(consul_read_index("-1") == 0);
	assert_true(consul_read_index("17x") == 0);
	assert_true(consul_read_index("99999999999999999999") == 0);
}

static void a_complaint_is_repeated(void **state)
{
	consul_read_complaint("No cluster leader\n", 18, 500, &why);
	assert_string_equal(why.s, "it answers with HTTP 500: No cluster leader");
	consul_read_complaint(NULL, 0, 403, &why);
	assert_string_equal(why.s, "it answers with HTTP 403");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(an_instance_is_a_line, release),
	        cmocka_unit_test_teardown(no_instances_are_an_empty_list, release),
	        cmocka_unit_test_teardown(what_is_no_instance_is_left_out, release),
	        cmocka_unit_test_teardown(what_is_no_list_is_refused, release),
	        cmocka_unit_test_teardown(an_index_is_a_number, release),
	        cmocka_unit_test_teardown(a_complaint_is_repeated, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
