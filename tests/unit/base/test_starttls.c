/* What stands before TLS: as soon as it is whole, however it comes; and nothing behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/starttls.h"

/* It is answered as soon as all of it is there, and not before. */
static void heard_as(enum starttls protocol, uint8_t step, const char *bytes, size_t n, enum talk_kind kind,
                     uint8_t next, const char *answer)
{
	struct buf text = BUF_INIT;
	struct talk_heard heard;

	for (size_t i = 1; i < n; i++) {
		starttls_hear(protocol, step, (const uint8_t *)bytes, i, &heard);
		assert_int_equal(heard.kind, TALK_MORE);
	}
	starttls_hear(protocol, step, (const uint8_t *)bytes, n, &heard);
	assert_int_equal(heard.kind, kind);
	assert_int_equal(heard.take, n);
	assert_int_equal(heard.step, next);
	starttls_answer(protocol, heard.answer, heard.tag, heard.n_tag, "here.test", &text);
	assert_string_equal(text.s, answer);
	buf_release(&text);
}

#define HEARD(protocol, step, bytes, kind, next, answer) \
	heard_as(protocol, step, bytes, sizeof(bytes) - 1, kind, next, answer)

static enum talk_kind kind_of(enum starttls protocol, const char *bytes, size_t n)
{
	struct talk_heard heard;

	starttls_hear(protocol, TALK_GOES_ON, (const uint8_t *)bytes, n, &heard);
	return heard.kind;
}

#define KIND(protocol, bytes) kind_of(protocol, bytes, sizeof(bytes) - 1)

static void postgres(void **state)
{
	HEARD(STARTTLS_POSTGRES, TALK_BEGIN, "\0\0\0\10\4\322\26\57", TALK_ANSWER, TALK_OVER, "S");
	HEARD(STARTTLS_POSTGRES, TALK_BEGIN, "\0\0\0\10\4\322\26\60", TALK_ANSWER, TALK_GOES_ON, "N");
	assert_int_equal(KIND(STARTTLS_POSTGRES, "\0\0\0\10\4\322\26\57x"), TALK_INJECTION);
	assert_int_equal(KIND(STARTTLS_POSTGRES, "\0\0\0\20\4\322\26\56\0\0\0\1\0\0\0"), TALK_MORE);
	assert_int_equal(KIND(STARTTLS_POSTGRES, "\0\0\0\20\4\322\26\56\0\0\0\1\0\0\0\2"), TALK_CANCEL);
	assert_int_equal(KIND(STARTTLS_POSTGRES, "\0\0\0\11\4\322\26\57"), TALK_WRONG);
	assert_int_equal(KIND(STARTTLS_POSTGRES, "\0\0\0\40\0\3\0\0"), TALK_PASS); /* a startup without TLS */
	assert_int_equal(KIND(STARTTLS_POSTGRES, "\26"), TALK_PASS);               /* TLS at once */
	assert_int_equal(KIND(STARTTLS_POSTGRES, "GET / HTTP/1.1"), TALK_WRONG);
}

static void greeted(enum starttls protocol, const char *greeting)
{
	struct buf text = BUF_INIT;
	struct talk_heard heard;

	starttls_hear(protocol, TALK_BEGIN, NULL, 0, &heard);
	assert_int_equal(heard.kind, TALK_ANSWER);
	assert_int_equal(heard.take, 0);
	starttls_answer(protocol, heard.answer, heard.tag, heard.n_tag, "here.test", &text);
	assert_string_equal(text.s, greeting);
	buf_release(&text);
}

static void lines(void **state)
{
	greeted(STARTTLS_SMTP, "220 here.test ESMTP\r\n");
	HEARD(STARTTLS_SMTP, TALK_GOES_ON, "ehlo there.test\r\n", TALK_ANSWER, TALK_GOES_ON,
	      "250-here.test\r\n250 STARTTLS\r\n");
	HEARD(STARTTLS_SMTP, TALK_GOES_ON, "STARTTLS\n", TALK_ANSWER, TALK_OVER, "220 2.0.0 Ready to start TLS\r\n");
	HEARD(STARTTLS_SMTP, TALK_GOES_ON, "STARTTLSX\r\n", TALK_ANSWER, TALK_GOES_ON,
	      "530 5.7.0 Must issue a STARTTLS command first\r\n");
	assert_int_equal(KIND(STARTTLS_SMTP, "STARTTLS\r\nx"), TALK_INJECTION);
	greeted(STARTTLS_IMAP, "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n");
	HEARD(STARTTLS_IMAP, TALK_GOES_ON, "a.1 StartTLS\r\n", TALK_ANSWER, TALK_OVER,
	      "a.1 OK begin TLS negotiation now\r\n");
	HEARD(STARTTLS_IMAP, TALK_GOES_ON, "b LOGIN x y\r\n", TALK_ANSWER, TALK_GOES_ON,
	      "b NO STARTTLS comes first\r\n");
	assert_int_equal(KIND(STARTTLS_IMAP, "* OK\r\n"), TALK_WRONG);
	assert_int_equal(KIND(STARTTLS_IMAP, "\r\n"), TALK_WRONG);
	greeted(STARTTLS_POP3, "+OK ready\r\n");
	HEARD(STARTTLS_POP3, TALK_GOES_ON, "QUIT\r\n", TALK_QUIT, TALK_GOES_ON, "+OK bye\r\n");
}

static void a_line_without_end(void **state)
{
	static char text[TALK_MOST];

	memset(text, 'x', sizeof(text));
	assert_int_equal(kind_of(STARTTLS_SMTP, text, sizeof(text) - 1), TALK_MORE);
	assert_int_equal(kind_of(STARTTLS_SMTP, text, sizeof(text)), TALK_WRONG);
}

/* ---- servers ---- */

/* All that it says, one after the other; what it is told, with bars between. */
static enum ask_kind asked(enum starttls protocol, const char *bytes, struct buf *said)
{
	struct ask_heard heard = {.step = 0};
	size_t at = 0, n = strlen(bytes);

	buf_clear(said);
	buf_adds(said, "");
	for (;;) {
		/* byte by byte, so that each of its answers comes after the question */
		for (size_t i = 0; at + i <= n; i++) {
			starttls_ask(protocol, heard.step, (const uint8_t *)bytes + at, i, "here.test", &heard);
			if (heard.kind != ASK_MORE)
				break;
		}
		if (heard.kind != ASK_SAY)
			return heard.kind;
		at += heard.take;
		buf_add(said, heard.say, heard.n_say);
		buf_adds(said, "|");
	}
}

static void servers(void **state)
{
	struct buf said = BUF_INIT;

	assert_int_equal(asked(STARTTLS_POSTGRES, "S", &said), ASK_DONE);
	assert_int_equal(said.len, 9);
	assert_int_equal(asked(STARTTLS_POSTGRES, "N", &said), ASK_REFUSED);
	assert_int_equal(asked(STARTTLS_POSTGRES, "E", &said), ASK_WRONG);
	assert_int_equal(asked(STARTTLS_POSTGRES, "", &said), ASK_MORE);
	assert_int_equal(asked(STARTTLS_SMTP, "220-a\r\n220 b\r\n250-c\r\n250 STARTTLS\r\n220 go\r\n", &said),
	                 ASK_DONE);
	assert_string_equal(said.s, "EHLO here.test\r\n|STARTTLS\r\n|");
	assert_int_equal(asked(STARTTLS_SMTP, "554 no\r\n", &said), ASK_REFUSED);
	assert_int_equal(asked(STARTTLS_SMTP, "220 a\r\n250 b\r\n502 no\r\n", &said), ASK_REFUSED);
	assert_int_equal(asked(STARTTLS_SMTP, "hello\r\n", &said), ASK_WRONG);
	assert_int_equal(asked(STARTTLS_SMTP, "220", &said), ASK_MORE);
	assert_int_equal(asked(STARTTLS_IMAP, "* OK a\r\n* CAPABILITY b\r\nt OK c\r\n", &said), ASK_DONE);
	assert_string_equal(said.s, "t STARTTLS\r\n||");
	assert_int_equal(asked(STARTTLS_IMAP, "* BYE\r\n", &said), ASK_REFUSED);
	assert_int_equal(asked(STARTTLS_POP3, "+OK a\r\n-ERR b\r\n", &said), ASK_REFUSED);
	buf_release(&said);
}

/* What comes unasked would be taken for a part of what TLS protects. */
static void a_server_that_says_more(void **state)
{
	static const char text[] = "220 a\r\n250 x\r\n";
	struct ask_heard heard;

	starttls_ask(STARTTLS_SMTP, 0, (const uint8_t *)text, sizeof(text) - 1, "here.test", &heard);
	assert_int_equal(heard.kind, ASK_WRONG);
	starttls_ask(STARTTLS_POSTGRES, 1, (const uint8_t *)"SS", 2, "here.test", &heard);
	assert_int_equal(heard.kind, ASK_WRONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(postgres),
	        cmocka_unit_test(lines),
	        cmocka_unit_test(a_line_without_end),
	        cmocka_unit_test(servers),
	        cmocka_unit_test(a_server_that_says_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
