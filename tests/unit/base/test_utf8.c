/* What others have written, made fit for a line of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/utf8.h"

static void assert_clean(const char *text, size_t len, const char *wanted)
{
	char line[256];

	memcpy(line, text, len);
	len = utf8_clean_line(line, len);
	line[len] = '\0';
	assert_string_equal(line, wanted);
	assert_int_equal(utf8_clean_line(line, len), len); /* nothing is left to do */
	assert_string_equal(line, wanted);
}

#define CLEAN(text, wanted) assert_clean(text, sizeof(text) - 1, wanted)

static void text_stays(void **state)
{
	CLEAN("", "");
	CLEAN(" plain ~", " plain ~");
	CLEAN("\u00e4\u00df \u20ac \u4e2d\u6587 \U0001f600", "\u00e4\u00df \u20ac \u4e2d\u6587 \U0001f600");
	CLEAN("\u00a0\u2027\u202f\u2065\u206a\uffff\U0010ffff",
	      "\u00a0\u2027\u202f\u2065\u206a\uffff\U0010ffff"); /* just beside what does not */
}

static void control_characters(void **state)
{
	CLEAN("a\0b", "a?b");
	CLEAN("a\tb\nc\rd\033[2J\177", "a?b?c?d?[2J?");
	CLEAN("\xc2\x9b"
	      "2J",
	      "?2J"); /* U+009B: CSI, as ESC [ */
	CLEAN("a\xc2\x85"
	      "b\xc2\x80\xc2\x9f",
	      "a?b??");                                    /* U+0085: next line */
	CLEAN("a\u2028b\u2029c", "a?b?c");                 /* line and paragraph separators */
	CLEAN("a\u202ab\u202ec\u2066d\u2069", "a?b?c?d?"); /* the direction of writing */
}

static void bytes_that_are_no_character(void **state)
{
	CLEAN("\x9b"
	      "2J",
	      "?2J"); /* CSI to a terminal that knows no UTF-8 */
	CLEAN("\xff\xfe", "??");
	CLEAN("\xc3(", "?(");
	CLEAN("\xe2\x82", "??"); /* cut */
	CLEAN("\xf0\x9f\x98", "???");
	CLEAN("\xc0\x9b\xe0\x80\x9b", "?????");                /* ESC, longer than needed */
	CLEAN("\xed\xa0\x80", "???");                          /* half a surrogate pair */
	CLEAN("\xf4\x90\x80\x80\xf5\x80\x80\x80", "????????"); /* beyond the last one */
	CLEAN("\xe4\xc3\xa4", "?\xc3\xa4");
}

/* No sequence of bytes leaves anything that a terminal or a reader of lines obeys. */
static void every_pair_of_bytes(void **state)
{
	for (unsigned i = 0; i < 0x10000; i++) {
		char line[3] = {(char)(i >> 8), (char)i, '\0'};
		size_t len = utf8_clean_line(line, 2);

		assert_in_range(len, 1, 2);
		for (size_t k = 0; k < len; k += utf8_length(line + k, len - k)) {
			unsigned char c = (unsigned char)line[k];

			assert_true(utf8_length(line + k, len - k) > 0);
			assert_true(c >= ' ' && c != 0x7f);
			assert_false(c == 0xc2 && (unsigned char)line[k + 1] < 0xa0);
		}
	}
}

#define WHOLE(text) utf8_whole(text, sizeof(text) - 1)

static void where_a_text_can_be_cut(void **state)
{
	assert_int_equal(WHOLE(""), 0);
	assert_int_equal(WHOLE("abc"), 3);
	assert_int_equal(WHOLE("ab\xc3\xa4"), 4);
	assert_int_equal(WHOLE("ab\xc3"), 2);
	assert_int_equal(WHOLE("ab\xe2\x82"), 2);
	assert_int_equal(WHOLE("ab\xf0\x9f\x98"), 2);
	assert_int_equal(WHOLE("ab\xf0\x9f\x98\x80"), 6);
	assert_int_equal(WHOLE("\xf0\x9f\x98"), 0);
	assert_int_equal(WHOLE("ab\x80\x80\x80\x80"), 6); /* it is nothing anyway */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(text_stays),
	        cmocka_unit_test(control_characters),
	        cmocka_unit_test(bytes_that_are_no_character),
	        cmocka_unit_test(every_pair_of_bytes),
	        cmocka_unit_test(where_a_text_can_be_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
