/* The steps of a check, fed byte by byte and in one piece: the verdict is the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "checker/script.h"

static struct script script;
static struct script_run run;
static struct buf said, why;

static int setup(void **state)
{
	script = (struct script){0};
	return 0;
}

static int teardown(void **state)
{
	script_release(&script);
	script_end(&run);
	buf_release(&said);
	buf_release(&why);
	return 0;
}

static void begin(void)
{
	script_end(&run);
	buf_release(&said);
	buf_release(&why);
	script_begin(&run, &script);
}

static enum verdict go(const char *heard, bool over)
{
	script_hears(&run, heard, strlen(heard));
	return script_goes_on(&run, over, &said, &why);
}

/* The verdict over these bytes, in one piece and byte by byte. */
static enum verdict over_bytes(const char *heard)
{
	enum verdict whole, v;
	const char *p = heard;

	begin();
	whole = go("", false);
	if (whole == VERDICT_MORE)
		whole = go(heard, false);
	begin();
	for (v = go("", false); v == VERDICT_MORE && *p; p++) {
		const char one[] = {*p, '\0'};

		v = go(one, false);
	}
	assert_int_equal(v, whole);
	return v;
}

static const char *text(const struct buf *b)
{
	return b->s ? b->s : "";
}

static void nothing_to_do_is_a_yes(void **state)
{
	begin();
	assert_int_equal(go("", false), VERDICT_YES);
}

static void what_is_expected_is_found_anywhere(void **state)
{
	script_add_text(&script, SCRIPT_SEND, "ask\n");
	script_add_text(&script, SCRIPT_EXPECT, "ready");
	assert_int_equal(over_bytes("not yet\nalready there\n"), VERDICT_YES);
	assert_string_equal(text(&said), "ask\n");
	assert_int_equal(over_bytes("read"), VERDICT_MORE);
	assert_int_equal(go("", true), VERDICT_NO);
	assert_string_equal(text(&why), "expected \"ready\", got \"read\"");
}

static void the_beginning_is_the_beginning(void **state)
{
	script_add_text(&script, SCRIPT_BEGIN, "+OK");
	assert_int_equal(over_bytes("+OK hello\r\n"), VERDICT_YES);
	assert_int_equal(over_bytes("+O"), VERDICT_MORE);
	assert_int_equal(over_bytes("-ERR +OK"), VERDICT_NO);
	assert_int_equal(over_bytes(" +OK"), VERDICT_NO);
}

static void each_send_forgets_what_came_before(void **state)
{
	script_add_text(&script, SCRIPT_EXPECT, "hello");
	script_add_text(&script, SCRIPT_SEND, "ping");
	script_add_text(&script, SCRIPT_EXPECT, "hello");
	begin();
	assert_int_equal(go("hello hello", false), VERDICT_MORE);
	assert_string_equal(text(&said), "ping");
	assert_int_equal(go("hello", false), VERDICT_YES);
}

static void several_may_be_expected_of_one_answer(void **state)
{
	script_add_text(&script, SCRIPT_EXPECT, "two");
	script_add_text(&script, SCRIPT_EXPECT, "one");
	assert_int_equal(over_bytes("one two"), VERDICT_YES);
}

static void what_is_not_to_come_is_a_no_at_once(void **state)
{
	script_add_text(&script, SCRIPT_NOT, "read-only");
	script_add_text(&script, SCRIPT_EXPECT, "ready");
	assert_int_equal(over_bytes("ready"), VERDICT_YES);
	assert_int_equal(over_bytes("a read-only one"), VERDICT_NO);
	assert_string_equal(text(&why), "got \"read-only\"");
	begin();
	assert_int_equal(go("a read-only one that is ready", false), VERDICT_NO);
}

static void it_is_not_to_come_up_to_the_next_send_only(void **state)
{
	script_add_text(&script, SCRIPT_NOT, "x");
	script_add_text(&script, SCRIPT_EXPECT, "a");
	script_add_text(&script, SCRIPT_SEND, "next");
	script_add_text(&script, SCRIPT_EXPECT, "x");
	begin();
	assert_int_equal(go("a", false), VERDICT_MORE);
	assert_int_equal(go("x", false), VERDICT_YES);
}

static void silence_as_the_last_step_is_a_yes_when_the_time_is_over(void **state)
{
	script_add_text(&script, SCRIPT_SEND, "ask");
	script_add_text(&script, SCRIPT_NOT, "error");
	script_add_text(&script, SCRIPT_BYE, "bye");
	begin();
	assert_int_equal(go("", false), VERDICT_MORE);
	assert_int_equal(script_times_out(&run, &why), VERDICT_YES);
	begin();
	assert_int_equal(go("", false), VERDICT_MORE);
	assert_int_equal(go("some error", false), VERDICT_NO);
	begin();
	assert_int_equal(go("", false), VERDICT_MORE);
	assert_int_equal(go("fine", true), VERDICT_YES);
}

static void the_time_is_over_in_words(void **state)
{
	script_add_text(&script, SCRIPT_EXPECT, "ready\r\n");
	begin();
	assert_int_equal(go("", false), VERDICT_MORE);
	assert_int_equal(script_times_out(&run, &why), VERDICT_NO);
	assert_string_equal(text(&why), "time is over, expected \"ready\", got nothing");
}

static void what_goes_on_for_ever_is_a_no(void **state)
{
	char *much = calloc(1, SCRIPT_HEARD_MAX + 1);

	memset(much, 'x', SCRIPT_HEARD_MAX);
	script_add_text(&script, SCRIPT_EXPECT, "ready");
	begin();
	assert_int_equal(go(much, false), VERDICT_MORE);
	assert_int_equal(run.heard.len, SCRIPT_HEARD_MAX);
	assert_int_equal(go("ready", false), VERDICT_NO);
	assert_int_equal(run.heard.len, SCRIPT_HEARD_MAX);
	free(much);
}

static void an_answer_in_the_log_is_one_harmless_line(void **state)
{
	script_quote(&why, "a\033[2Jb\nsecond", 14);
	assert_string_equal(text(&why), "\"a?[2Jb\"");
	buf_clear(&why);
	script_quote(&why, "\r\n", 2);
	assert_string_equal(text(&why), "\"\"");
}

static void a_server_that_ends_is_asked_nothing(void **state)
{
	script_add_text(&script, SCRIPT_EXPECT, "220");
	script_add_text(&script, SCRIPT_SEND, "QUIT");
	begin();
	assert_int_equal(go("220", true), VERDICT_NO);
	assert_string_equal(text(&said), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TEST(nothing_to_do_is_a_yes),
	        TEST(what_is_expected_is_found_anywhere),
	        TEST(the_beginning_is_the_beginning),
	        TEST(each_send_forgets_what_came_before),
	        TEST(several_may_be_expected_of_one_answer),
	        TEST(what_is_not_to_come_is_a_no_at_once),
	        TEST(it_is_not_to_come_up_to_the_next_send_only),
	        TEST(silence_as_the_last_step_is_a_yes_when_the_time_is_over),
	        TEST(the_time_is_over_in_words),
	        TEST(what_goes_on_for_ever_is_a_no),
	        TEST(an_answer_in_the_log_is_one_harmless_line),
	        TEST(a_server_that_ends_is_asked_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
