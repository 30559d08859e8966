/* A line as a shell splits it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/shwords.h"

static char line[2 * SHWORDS_MAX + 100];
static char *words[SHWORDS_MAX];
static size_t n;

static const char *split(const char *text)
{
	snprintf(line, sizeof(line), "%s", text);
	return shwords_split(line, words, &n);
}

static void words_stand_between_blanks(void **state)
{
	assert_null(split("  weight\tdb1   5 "));
	assert_int_equal(n, 3);
	assert_string_equal(words[0], "weight");
	assert_string_equal(words[1], "db1");
	assert_string_equal(words[2], "5");
	assert_null(split(""));
	assert_int_equal(n, 0);
	assert_null(split("a #b c"));
	assert_int_equal(n, 1);
	assert_null(split("a#b '#c'"));
	assert_int_equal(n, 2);
	assert_string_equal(words[0], "a#b");
	assert_string_equal(words[1], "#c");
}

static void quotes_may_stand_anywhere_in_a_word(void **state)
{
	assert_null(split("a' b'\"c\\\"$ \"\\ d '' \"\""));
	assert_int_equal(n, 3);
	assert_string_equal(words[0], "a bc\"$  d");
	assert_string_equal(words[1], "");
	assert_string_equal(words[2], "");
	assert_null(split("'it'\\''s' \"a\\nb\""));
	assert_string_equal(words[0], "it's");
	assert_string_equal(words[1], "a\\nb");
}

static void what_is_open_at_its_end_is_wrong(void **state)
{
	assert_string_equal(split("a 'b"), "a ' is missing at its end");
	assert_string_equal(split("a \"b\\\""), "a \" is missing at its end");
	assert_string_equal(split("a \"b\\"), "a \" is missing at its end");
	assert_string_equal(split("a b\\"), "nothing follows its last \\");
}

static void there_is_an_end_to_the_words(void **state)
{
	char text[2 * SHWORDS_MAX + 3] = "";

	for (int i = 0; i < SHWORDS_MAX; i++)
		strcat(text, "a ");
	assert_null(split(text));
	assert_int_equal(n, SHWORDS_MAX);
	strcat(text, "a");
	assert_string_equal(split(text), "it has too many words");
}

static void what_is_quoted_is_read_again(void **state)
{
	static const char *const list[] = {"",   "a", "a b",  "it's",     "''",        "\\",
	                                   "\"", "#", "$(x)", "[::1]:25", "/bin/x -y", "\t"};

	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		struct buf text = BUF_INIT;

		shwords_quote(list[i], &text);
		assert_null(split(text.s));
		assert_int_equal(n, 1);
		assert_string_equal(words[0], list[i]);
		buf_release(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(words_stand_between_blanks),
	        cmocka_unit_test(quotes_may_stand_anywhere_in_a_word),
	        cmocka_unit_test(what_is_open_at_its_end_is_wrong),
	        cmocka_unit_test(there_is_an_end_to_the_words),
	        cmocka_unit_test(what_is_quoted_is_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
