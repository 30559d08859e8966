/* Bytes as text, and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "sources/base64.h"

static struct buf b;

static void bytes_come_back(void **state)
{
	char bytes[300];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		struct buf back = BUF_INIT;

		buf_clear(&b);
		base64_encode(bytes, n, &b);
		assert_true(base64_decode(b.len ? b.s : "", b.len, &back));
		assert_int_equal(back.len, n);
		assert_memory_equal(n ? back.s : "", bytes, n);
		buf_release(&back);
	}
}

static void it_is_as_others_write_it(void **state)
{
	buf_clear(&b);
	base64_encode("fooba", 5, &b);
	assert_string_equal(b.s, "Zm9vYmE=");
	buf_clear(&b);
	assert_true(base64_decode("Zm9vYg==", 8, &b));
	assert_string_equal(b.s, "foob");
}

static void what_is_none_adds_nothing(void **state)
{
	static const char *const none[] = {
	        "Z", "Zm9", "Zm9v!mFy", "Zm9vYg=a", "====", "Zm=v", "Zg==Zg==", "Zm9v\n", "=", "Zm9vY==="};

	buf_clear(&b);
	buf_adds(&b, "x");
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		assert_false(base64_decode(none[i], strlen(none[i]), &b));
		assert_int_equal(b.len, 1);
	}
}

static int release(void **state)
{
	buf_release(&b);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(bytes_come_back),
	        cmocka_unit_test(it_is_as_others_write_it),
	        cmocka_unit_test(what_is_none_adds_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, release);
}
