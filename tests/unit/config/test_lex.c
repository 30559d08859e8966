/* Words of a line, and back. */
#include "fixture.h"
#include "config/lex.h"

static struct line line;

static size_t words(const char *text)
{
	uint32_t column;

	assert_null(lex_line(&line, text, strlen(text), &column));
	return line.n;
}

static void blanks_separate(void **state)
{
	assert_int_equal(words(" \tport  25\t8000-8010  "), 3);
	assert_string_equal(line.words[0].text, "port");
	assert_string_equal(line.words[2].text, "8000-8010");
	assert_int_equal(line.words[0].column, 3);
	assert_int_equal(line.words[1].column, 9);
	assert_int_equal(line.end, 21);
	assert_int_equal(words(""), 0);
	assert_int_equal(line.end, 1);
	assert_int_equal(words("a\r"), 1);
	assert_string_equal(line.words[0].text, "a");
}

static void comments_end_a_line(void **state)
{
	assert_int_equal(words("# all"), 0);
	assert_int_equal(words("a # b"), 1);
	assert_int_equal(words("a#b"), 1);
	assert_string_equal(line.words[0].text, "a");
	assert_int_equal(words("\"a#b\""), 1);
	assert_string_equal(line.words[0].text, "a#b");
}

static void quotes_hold_together(void **state)
{
	assert_int_equal(words("env A=\"b c\"d \"\" \"\\\"\\\\\\x\""), 4);
	assert_string_equal(line.words[1].text, "A=b cd");
	assert_string_equal(line.words[2].text, "");
	assert_string_equal(line.words[3].text, "\"\\\\x");
}

static void what_is_no_line(void **state)
{
	uint32_t column = 0;

	assert_non_null(lex_line(&line, "a \"b c", 6, &column));
	assert_int_equal(column, 3);
	assert_non_null(lex_line(&line, "ab\1", 3, &column));
	assert_int_equal(column, 3);
	assert_non_null(lex_line(&line, "a\rb", 3, &column));
	assert_int_equal(column, 2);
}

static void quoting_is_undone(void **state)
{
	static const char *const all[] = {"",       "a",      "a b", "a#b",       "\"",  "\\",   "\\ ",    " \\\\",
	                                  "\\\" x", "a\\b c", "\t",  "\\\\\\ \"", "x\\", "x \\", "\"\\\"", "\xc3\xa4"};
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		buf_clear(&text);
		lex_quote(all[i], &text);
		buf_adds(&text, " next");
		assert_int_equal(words(text.s), 2);
		assert_string_equal(line.words[0].text, all[i]);
	}
	buf_release(&text);
}

static void shown_words_are_tame(void **state)
{
	char shown[SHOWN_MAX], big[300];

	assert_string_equal(lex_show("a\33[0m", shown), "\"a?[0m\"");
	memset(big, 'x', sizeof(big));
	big[299] = '\0';
	assert_true(strlen(lex_show(big, shown)) < SHOWN_MAX);
	assert_non_null(strstr(shown, "...\""));
	/* "ä" all over: no half of it is left at the cut. */
	for (size_t i = 0; i + 2 < sizeof(big); i += 2)
		memcpy(big + i, "\xc3\xa4", 2);
	big[298] = '\0';
	lex_show(big, shown);
	assert_int_equal((strlen(shown) - strlen("\"...\"")) % 2, 0);
}

static int release(void **state)
{
	line_release(&line);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(blanks_separate),      cmocka_unit_test(comments_end_a_line),
	        cmocka_unit_test(quotes_hold_together), cmocka_unit_test(what_is_no_line),
	        cmocka_unit_test(quoting_is_undone),    cmocka_unit_test(shown_words_are_tame),
	};

	return cmocka_run_group_tests(tests, NULL, release);
}
