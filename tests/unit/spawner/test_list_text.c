/* Lists that come in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "spawner/list_text.h"

static struct buf text, whole;

static bool add(const char *piece)
{
	return list_text_add(&text, piece, strlen(piece), &whole);
}

static int release(void **state)
{
	buf_release(&text);
	buf_release(&whole);
	return 0;
}

static void a_list_ends_with_a_point(void **state)
{
	assert_false(add("a:1\nb:1\n"));
	assert_true(add(".\nc:1\n"));
	assert_string_equal(whole.s, "a:1\nb:1\n");
	assert_int_equal(text.len, 4);
	assert_true(add(".\n"));
	assert_string_equal(whole.s, "c:1\n");
	assert_int_equal(text.len, 0);
}

static void the_last_of_several_counts(void **state)
{
	assert_true(add("a:1\n.\nb:1\n.\nnone\n.\nhalf"));
	assert_string_equal(whole.s, "none\n");
	assert_int_equal(text.len, 4);
}

static void an_empty_one_is_one(void **state)
{
	assert_true(add(".\n"));
	assert_int_equal(whole.len, 0);
	assert_string_equal(whole.s, "");
}

static void other_points_end_nothing(void **state)
{
	assert_false(add("a.\n..\n .\n. \n.\r\n.b\n."));
	assert_true(add("\n"));
	assert_string_equal(whole.s, "a.\n..\n .\n. \n.\r\n.b\n");
}

static void wherever_it_is_cut_it_is_the_same(void **state)
{
	static const char lists[] = "a:1\n.\nb:1\nc.:1\n..\n.\nd";

	for (size_t a = 0; a < sizeof(lists) - 1; a++) {
		for (size_t b = a; b < sizeof(lists) - 1; b++) {
			size_t n = strlen(lists);

			list_text_add(&text, lists, a, &whole);
			list_text_add(&text, lists + a, b - a, &whole);
			if (b < n)
				list_text_add(&text, lists + b, n - b, &whole);
			assert_string_equal(whole.s, "b:1\nc.:1\n..\n");
			assert_memory_equal(text.s, "d", 1);
			release(state);
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(a_list_ends_with_a_point, release),
	        cmocka_unit_test_teardown(the_last_of_several_counts, release),
	        cmocka_unit_test_teardown(an_empty_one_is_one, release),
	        cmocka_unit_test_teardown(other_points_end_nothing, release),
	        cmocka_unit_test_teardown(wherever_it_is_cut_it_is_the_same, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
