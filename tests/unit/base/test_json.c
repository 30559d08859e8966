#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/json.h"

static void what_is_written_can_be_read(void **state)
{
	struct buf out = BUF_INIT;
	json_t *root, *list;

	json_open(&out, NULL, '{');
	json_text(&out, "text", "a\"b\\c\n\xff,");
	json_text(&out, "none", "");
	json_count(&out, "count", UINT64_MAX / 2);
	json_count(&out, "zero", 0);
	json_bool(&out, "yes", true);
	json_seconds(&out, "time", 1234567);
	json_seconds(&out, "soon", 20);
	json_seconds(&out, "never", -1);
	json_open(&out, "list", '[');
	for (int i = 0; i < 2; i++) {
		json_open(&out, NULL, '{');
		json_count(&out, "i", (uint64_t)i);
		buf_addc(&out, '}');
	}
	json_open(&out, NULL, '[');
	buf_adds(&out, "]]}");
	root = json_loads(out.s, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "text")), "a\"b\\c\n\xef\xbf\xbd,");
	assert_true(json_is_null(json_object_get(root, "none")));
	assert_true(json_integer_value(json_object_get(root, "count")) == INT64_MAX);
	assert_int_equal(json_integer_value(json_object_get(root, "zero")), 0);
	assert_true(json_is_true(json_object_get(root, "yes")));
	assert_true(json_real_value(json_object_get(root, "time")) == 1.234567);
	assert_true(json_real_value(json_object_get(root, "soon")) == 0.00002);
	assert_true(json_is_null(json_object_get(root, "never")));
	list = json_object_get(root, "list");
	assert_int_equal(json_array_size(list), 3);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 1), "i")), 1);
	json_decref(root);
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_written_can_be_read)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
