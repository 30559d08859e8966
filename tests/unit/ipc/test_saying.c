/* What the spawner and the page say: lines of any length, whose end is ours to put. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include "ipc/saying.h"

static struct said said;

static void a_text_ends_where_the_message_does(void **state)
{
	memset(&said, 'x', sizeof(said));
	assert_null(said_text(&said, 0));
	assert_null(said_text(&said, SAYING_HEAD - 1));
	for (size_t n = 0; n < sizeof(said.line.text); n++) {
		memset(said.line.text, 'x', sizeof(said.line.text));
		assert_ptr_equal(said_text(&said, SAYING_HEAD + n), said.line.text);
		assert_int_equal(strlen(said.line.text), n);
	}
}

/* The struct has room behind its text, which is not the text's. */
static void one_that_fills_its_room_is_none(void **state)
{
	memset(&said, 'x', sizeof(said));
	for (size_t n = sizeof(said.line.text); SAYING_HEAD + n <= sizeof(said); n++)
		assert_null(said_text(&said, SAYING_HEAD + n));
}

static void any_level_is_one(void **state)
{
	said.line.level = LOG_LEVEL_DEBUG;
	assert_int_equal(said_level(&said), LOG_LEVEL_DEBUG);
	said.line.level = 250;
	assert_int_equal(said_level(&said), LOG_LEVEL_ERROR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_text_ends_where_the_message_does),
	        cmocka_unit_test(one_that_fills_its_room_is_none),
	        cmocka_unit_test(any_level_is_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
