/* Protocols by their first bytes: as soon as these allow it, and with every number of bytes that may come first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/sniff.h"

static const uint8_t *raw(const char *bytes)
{
	return (const uint8_t *)bytes;
}

/* After so many bytes it is known, with fewer it may be; what is asked for is never more than it takes. */
static void is(enum sniff_word word, const char *bytes, size_t n, size_t known)
{
	for (size_t i = 0; i <= n; i++) {
		size_t more = 0;
		enum sniff_fit fit = sniff_fits(word, raw(bytes), i, &more);

		assert_int_equal(fit, i < known ? SNIFF_MAYBE : SNIFF_YES);
		if (i < known)
			assert_in_range(more, i + 1, known);
	}
}

static void is_not(enum sniff_word word, const char *bytes, size_t n, size_t known)
{
	for (size_t i = 1; i <= n; i++) {
		size_t more = 0;

		assert_int_equal(sniff_fits(word, raw(bytes), i, &more), i < known ? SNIFF_MAYBE : SNIFF_NO);
	}
}

#define IS(word, bytes, known)     is(word, bytes, sizeof(bytes) - 1, known)
#define IS_NOT(word, bytes, known) is_not(word, bytes, sizeof(bytes) - 1, known)

static void tls(void **state)
{
	IS(SNIFF_TLS, "\x16\x03\x01\x02\x00\x01", 3);
	IS(SNIFF_TLS, "\x16\x03\x03\x00\x01\x01", 3);
	IS(SNIFF_TLS, "\x80\x2e\x01\x03\x01\x00\x15", 5);
	IS(SNIFF_TLS, "\x80\x2e\x01\x00\x02\x00\x15", 5);
	IS_NOT(SNIFF_TLS, "\x16\x03\x05", 3);
	IS_NOT(SNIFF_TLS, "\x16\x02\x00", 2);
	IS_NOT(SNIFF_TLS, "\x15\x03\x01", 1);
	IS_NOT(SNIFF_TLS, "\x80\x2e\x02\x03\x01", 3);
	IS_NOT(SNIFF_TLS, "\x80\x2e\x01\x03\x05", 5);
	IS_NOT(SNIFF_TLS, "GET /", 1);
}

static void ssh(void **state)
{
	IS(SNIFF_SSH, "SSH-2.0-OpenSSH_9.2\r\n", 4);
	IS_NOT(SNIFF_SSH, "SSL-", 3);
	IS_NOT(SNIFF_SSH, "ssh-", 1);
}

static void http(void **state)
{
	IS(SNIFF_HTTP, "GET / HTTP/1.1\r\n", 4);
	IS(SNIFF_HTTP, "OPTIONS * HTTP/1.1\r\n", 8);
	IS(SNIFF_HTTP, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 4);
	IS(SNIFF_HTTP, "PROPFIND /", 9);
	IS(SNIFF_HTTP, "CONNECT a:443", 8);
	IS_NOT(SNIFF_HTTP, "GETS /", 4);
	IS_NOT(SNIFF_HTTP, "get /", 1);
	IS_NOT(SNIFF_HTTP, "EHLO me", 1);
	IS_NOT(SNIFF_HTTP, "POSH", 4);
	IS_NOT(SNIFF_HTTP, "SSH-2.0", 2);
}

static void socks(void **state)
{
	IS(SNIFF_SOCKS, "\x05\x01\x00", 2);
	IS(SNIFF_SOCKS, "\x04\x01\x00\x50", 2);
	IS_NOT(SNIFF_SOCKS, "\x05\x00", 2);
	IS_NOT(SNIFF_SOCKS, "\x04\x03", 2);
	IS_NOT(SNIFF_SOCKS, "\x06\x01", 1);
}

static void postgres(void **state)
{
	IS(SNIFF_POSTGRES, "\0\0\0\x08\x04\xd2\x16\x2f", 8);
	IS(SNIFF_POSTGRES, "\0\0\0\x08\x04\xd2\x16\x30", 8);
	IS(SNIFF_POSTGRES, "\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2", 8);
	IS(SNIFF_POSTGRES, "\0\0\0\x29\0\x03\0\0user\0", 8);
	IS(SNIFF_POSTGRES, "\0\0\0\x29\0\x03\0\x02user\0", 8);
	IS_NOT(SNIFF_POSTGRES, "\0\0\0\x09\x04\xd2\x16\x2f", 8);
	IS_NOT(SNIFF_POSTGRES, "\0\0\0\x08\0\x03\0\0", 8);
	IS_NOT(SNIFF_POSTGRES, "\0\1", 2);
	IS_NOT(SNIFF_POSTGRES, "\0\0\0\x29\0\x02", 6);
	IS_NOT(SNIFF_POSTGRES, "\0\0\0\x29\x01", 5);
}

static void redis(void **state)
{
	IS(SNIFF_REDIS, "*1\r\n$4\r\nPING\r\n", 5);
	IS(SNIFF_REDIS, "*12\r\n$7\r\nCOMMAND", 6);
	IS(SNIFF_REDIS, "PING\r\n", 6);
	IS(SNIFF_REDIS, "ping\r\n", 6);
	IS_NOT(SNIFF_REDIS, "*0\r\n", 3);
	IS_NOT(SNIFF_REDIS, "*x", 2);
	IS_NOT(SNIFF_REDIS, "*1\r\n:4", 5);
	IS_NOT(SNIFF_REDIS, "*123456789", 9);
	IS_NOT(SNIFF_REDIS, "POST /", 2);
}

static void words(void **state)
{
	for (unsigned w = SNIFF_TLS; w < SNIFF_WORDS; w++)
		assert_int_equal(sniff_word(sniff_name(w)), w);
	assert_int_equal(sniff_word("mysql"), SNIFF_UNKNOWN);
	assert_int_equal(sniff_word(""), SNIFF_UNKNOWN);
	assert_null(sniff_name(SNIFF_UNKNOWN));
	assert_null(sniff_name(200));
}

static enum sniff_fit fit(const char *pattern, const char *bytes, size_t n, size_t *more)
{
	struct sniff_pattern p;

	assert_null(sniff_pattern_read(pattern, &p));
	return sniff_pattern_fits(&p, raw(bytes), n, more);
}

static void patterns(void **state)
{
	size_t more = 0;

	assert_int_equal(fit("hex:16030?", "\x16\x03", 2, &more), SNIFF_MAYBE);
	assert_int_equal(more, 3);
	assert_int_equal(fit("hex:16030?", "\x16\x03\x0f", 3, &more), SNIFF_YES);
	assert_int_equal(fit("hex:16030?", "\x16\x03\x1f", 3, &more), SNIFF_NO);
	assert_int_equal(fit("hex:16030?..", "\x16\x03\x01", 3, &more), SNIFF_MAYBE);
	assert_int_equal(fit("hex:??FF", "\x16\xff", 2, &more), SNIFF_YES);
	assert_int_equal(fit("text:GET ", "GET /", 5, &more), SNIFF_YES);
	assert_int_equal(fit("text:GET ", "get /", 5, &more), SNIFF_NO);
	assert_int_equal(fit("text:GET ", "", 0, &more), SNIFF_MAYBE);
}

static void patterns_that_are_none(void **state)
{
	static const char *const list[] = {"hex:", "hex:1", "hex:1g", "text:", "hex:16 03", "hex:0x16"};
	struct sniff_pattern p;
	char long_text[80];

	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++)
		assert_non_null(sniff_pattern_read(list[i], &p));
	memset(long_text, 'x', sizeof(long_text));
	memcpy(long_text, "text:", 5);
	long_text[5 + SNIFF_PATTERN_MAX] = '\0';
	assert_null(sniff_pattern_read(long_text, &p));
	long_text[5 + SNIFF_PATTERN_MAX] = 'x';
	long_text[6 + SNIFF_PATTERN_MAX] = '\0';
	assert_non_null(sniff_pattern_read(long_text, &p));
	assert_true(sniff_is_pattern("hex:") && sniff_is_pattern("text:x") && !sniff_is_pattern("tls"));
}

static void one_that_says_more(void **state)
{
	struct sniff_pattern a, b;

	sniff_pattern_read("hex:16??", &a);
	sniff_pattern_read("hex:1603", &b);
	assert_true(sniff_pattern_compare(&a, &b) < 0);
	assert_true(sniff_pattern_compare(&b, &a) > 0);
	assert_int_equal(sniff_pattern_compare(&a, &a), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(tls),
	        cmocka_unit_test(ssh),
	        cmocka_unit_test(http),
	        cmocka_unit_test(socks),
	        cmocka_unit_test(postgres),
	        cmocka_unit_test(redis),
	        cmocka_unit_test(words),
	        cmocka_unit_test(patterns),
	        cmocka_unit_test(patterns_that_are_none),
	        cmocka_unit_test(one_that_says_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
