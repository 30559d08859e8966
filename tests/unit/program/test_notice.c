/* What the supervisor asks of the spawner, packed and understood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "program/notice.h"

static char *const argv[] = {(char *)"/bin/tell", (char *)"", (char *)"two words", NULL};
static char *const env[] = {(char *)"PROXY_STATE=down", NULL};

static void pack(struct buf *out)
{
	notice_pack((struct notice_question){.serial = 3, .key = 4, .timeout_ms = 5}, "notify /bin/tell for a", argv,
	            env, out);
}

static void what_is_packed_is_understood(void **state)
{
	struct buf b = BUF_INIT;
	struct notice n;

	pack(&b);
	assert_true(notice_unpack(b.s, b.len, &n));
	assert_true(n.question.serial == 3 && n.question.key == 4 && n.question.timeout_ms == 5);
	assert_string_equal(n.label, "notify /bin/tell for a");
	for (int i = 0; i < 3; i++)
		assert_string_equal(n.argv[i], argv[i]);
	assert_null(n.argv[3]);
	assert_string_equal(n.env[0], env[0]);
	assert_null(n.env[1]);
	notice_release(&n);
	buf_release(&b);
}

static void one_that_is_cut_is_none(void **state)
{
	struct buf b = BUF_INIT;
	struct notice n;

	pack(&b);
	for (size_t len = 0; len < b.len; len++) {
		char *copy = malloc(len + 1); /* of this size, so that a byte beyond it is noticed */

		memcpy(copy, b.s, len);
		assert_false(notice_unpack(copy, len, &n));
		free(copy);
	}
	buf_release(&b);
}

static void numbers_may_be_anything(void **state)
{
	struct buf b = BUF_INIT;
	struct notice_question q;
	struct notice n;

	pack(&b);
	memcpy(&q, b.s, sizeof(q));
	for (uint32_t wrong = 0; wrong < 3; wrong++) {
		static const uint32_t numbers[] = {0, 6, UINT32_MAX};

		q.n_argv = numbers[wrong];
		memcpy(b.s, &q, sizeof(q));
		assert_false(notice_unpack(b.s, b.len, &n));
	}
	q.n_argv = 3;
	q.n_env = UINT32_MAX;
	memcpy(b.s, &q, sizeof(q));
	assert_false(notice_unpack(b.s, b.len, &n));
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_is_packed_is_understood),
	        cmocka_unit_test(one_that_is_cut_is_none),
	        cmocka_unit_test(numbers_may_be_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
