/* Numbers, times, sizes and words as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/utf8.h"

static void numbers(void **state)
{
	static const char *const bad[] = {"", " 1", "1 ", "-1", "+1", "0x1", "1.0", "abc", "65536"};
	uint64_t n = 7;

	assert_true(text_parse_uint("0", 10, &n));
	assert_int_equal(n, 0);
	assert_true(text_parse_uint("65535", 65535, &n));
	assert_int_equal(n, 65535);
	assert_true(text_parse_uint("18446744073709551615", UINT64_MAX, &n));
	assert_true(n == UINT64_MAX);
	assert_false(text_parse_uint("18446744073709551616", UINT64_MAX, &n));
	n = 7;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(text_parse_uint(bad[i], 65535, &n));
	assert_int_equal(n, 7);
}

static void times(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {
	        {"0", 0},       {"10", 10000},   {"0.5", 500},      {"0.25", 250},     {"250ms", 250}, {"3s", 3000},
	        {"5m", 300000}, {"1h", 3600000}, {"2d", 172800000}, {"1.5h", 5400000}, {"0.001", 1},   {"1.500", 1500},
	};
	static const char *const bad[] = {"",       "s",           ".5",       "1.",   "1.5ms",
	                                  "0.0001", "-1",          "1 s",      "5min", "1e3",
	                                  "1.5.5",  "99999999999", "4000000d", "1S",   "18446744073709551617"};
	int64_t ms = 7;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_true(text_parse_time_ms(good[i].text, &ms));
		assert_int_equal(ms, good[i].ms);
	}
	ms = 7;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(text_parse_time_ms(bad[i], &ms));
	assert_int_equal(ms, 7);
}

static void times_are_printed_short(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} forms[] = {
	        {0, "0"},         {1, "1ms"},      {100, "0.1"},   {250, "0.25"},  {1500, "1.5"},
	        {10000, "10"},    {90000, "90"},   {60000, "60"},  {300000, "5m"}, {3600000, "1h"},
	        {86400000, "1d"}, {1001, "1.001"}, {123, "0.123"},
	};
	char buf[TEXT_TIME_MAX];

	for (size_t i = 0; i < ARRAY_LEN(forms); i++)
		assert_string_equal(text_format_time(forms[i].ms, buf), forms[i].text);
	for (int64_t ms = 0; ms < 1000000000; ms = ms * 9 / 8 + 1) {
		int64_t back = -1;

		assert_true(text_parse_time_ms(text_format_time(ms, buf), &back));
		assert_int_equal(back, ms);
	}
}

static void sizes(void **state)
{
	uint64_t n = 7;

	assert_true(text_parse_size("4096", &n));
	assert_int_equal(n, 4096);
	assert_true(text_parse_size("64k", &n));
	assert_int_equal(n, 65536);
	assert_true(text_parse_size("2m", &n));
	assert_int_equal(n, 2 << 20);
	assert_true(text_parse_size("1g", &n));
	assert_int_equal(n, 1 << 30);
	assert_false(text_parse_size("1t", &n));
	assert_false(text_parse_size("k", &n));
	assert_false(text_parse_size("18446744073709551615k", &n));
	assert_int_equal(n, 1 << 30);
}

static void words_of_yes_and_no(void **state)
{
	bool yes = false;

	assert_true(text_parse_bool("yes", &yes));
	assert_true(yes);
	assert_true(text_parse_bool("no", &yes));
	assert_false(yes);
	yes = true;
	assert_false(text_parse_bool("on", &yes));
	assert_false(text_parse_bool("Yes", &yes));
	assert_false(text_parse_bool("", &yes));
	assert_true(yes);
}

static void nearest_word(void **state)
{
	static const char *const words[] = {"server", "timeout", "port", "wait", "acp", NULL};

	assert_string_equal(text_nearest("serverr", words), "server");
	assert_string_equal(text_nearest("sever", words), "server");
	assert_string_equal(text_nearest("tiemout", words), "timeout");
	assert_string_equal(text_nearest("Port", words), "port");
	assert_string_equal(text_nearest("prot", words), "port");
	assert_null(text_nearest("", words));
	assert_null(text_nearest("x", words));
	assert_null(text_nearest("elephant", words));
	assert_null(text_nearest("serverserverserverserverserverserverserverserver", words));
}

static void assert_tame(const char *text, const char *wanted)
{
	char copy[64];

	strcpy(copy, text);
	utf8_tame(copy, strlen(copy));
	assert_string_equal(copy, wanted);
}

static void what_could_steer_a_terminal_is_tamed(void **state)
{
	char whole[] = {'a', '\0', 'b'};

	assert_tame("", "");
	assert_tame("plain\ttext\n", "plain\ttext\n");
	assert_tame("\x1b[2J\x1b]0;title\a\r\x7f", "?[2J?]0;title???");
	assert_tame("Gr\xc3\xbc\xc3\x9f"
	            "e \xe2\x82\xac \xf0\x9f\x99\x82",
	            "Gr\xc3\xbc\xc3\x9f"
	            "e \xe2\x82\xac \xf0\x9f\x99\x82");
	assert_tame("\x9b"
	            "31m \xc2\x9b"
	            "31m \xc2\x85",
	            "?31m ??31m ??");
	assert_tame("\xe2\x80\xa8 \xe2\x80\xae \xe2\x81\xa6", "??? ??? ???");
	/* not UTF-8: cut, overlong, surrogates, too large */
	assert_tame("a\xc3", "a?");
	assert_tame("\xe2\x82", "??");
	assert_tame("\xc0\x9b \xe0\x82\x9b \xed\xa0\x80 \xf4\x90\x80\x80 \xff", "?? ??? ??? ???? ?");
	utf8_tame(whole, sizeof(whole));
	assert_memory_equal(whole, "a?b", 3);
}

static void texts_grow(void **state)
{
	struct buf b = BUF_INIT;
	char *text;

	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%d,", i);
	assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
	buf_clear(&b);
	assert_string_equal(b.s, "");
	buf_adds(&b, "a");
	buf_addc(&b, 'b');
	buf_add(&b, "cde", 1);
	text = buf_detach(&b);
	assert_string_equal(text, "abc");
	assert_null(b.s);
	free(text);
	text = buf_detach(&b);
	assert_string_equal(text, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(numbers),
	        cmocka_unit_test(times),
	        cmocka_unit_test(times_are_printed_short),
	        cmocka_unit_test(sizes),
	        cmocka_unit_test(words_of_yes_and_no),
	        cmocka_unit_test(nearest_word),
	        cmocka_unit_test(what_could_steer_a_terminal_is_tamed),
	        cmocka_unit_test(texts_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
