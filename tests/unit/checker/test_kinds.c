/* What real servers answer, as recorded, and what is made of it; each answer also cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include "checker/kinds.h"

struct answer {
	const char *bytes;
	size_t len;
	enum verdict verdict;
	const char *why; /* NULL: any */
};

#define YES(text)                                       \
	{                                               \
		text, sizeof(text) - 1, VERDICT_YES, "" \
	}
#define NO(text, why)                                   \
	{                                               \
		text, sizeof(text) - 1, VERDICT_NO, why \
	}
#define MORE(text)                                       \
	{                                                \
		text, sizeof(text) - 1, VERDICT_MORE, "" \
	}
#define ASK(kind, ...) ask(kind, &(struct script_words){__VA_ARGS__}, list, sizeof(list) / sizeof(*list))

/* Where the answer to a question ends that is not the last; not part of it. */
#define TURN '|'

/* The verdict when it comes in pieces of at most so many bytes. */
static enum verdict run(const struct script *script, const struct answer *a, size_t piece, struct buf *said,
                        struct buf *why)
{
	struct script_run r;
	enum verdict v;

	script_begin(&r, script);
	v = script_goes_on(&r, false, said, why);
	for (size_t at = 0, n; at < a->len && v == VERDICT_MORE; at += n) {
		const char *turn = memchr(a->bytes + at, TURN, a->len - at);

		n = turn ? (size_t)(turn - a->bytes) - at : a->len - at;
		if (n > piece)
			n = piece;
		script_hears(&r, a->bytes + at, n);
		v = script_goes_on(&r, false, said, why);
		if (turn == a->bytes + at + n)
			n++;
	}
	script_end(&r);
	return v;
}

static void ask(const char *kind, const struct script_words *words, const struct answer *list, size_t n)
{
	struct script script = {0};

	assert_true(kind_script(kind, words, &script));
	for (size_t i = 0; i < n; i++)
		for (size_t piece = 1; piece <= list[i].len; piece++) {
			struct buf said = BUF_INIT, why = BUF_INIT;

			assert_int_equal(run(&script, &list[i], piece, &said, &why), list[i].verdict);
			if (list[i].why)
				assert_string_equal(why.s ? why.s : "", list[i].why);
			buf_release(&said);
			buf_release(&why);
		}
	script_release(&script);
}

/* All that is said until there is a verdict, or nothing more is to be heard. */
static void says(const char *kind, const struct script_words *words, const char *hears, size_t n_hears,
                 const char *bytes, size_t len)
{
	struct answer a = {hears, n_hears, VERDICT_YES, NULL};
	struct buf said = BUF_INIT, why = BUF_INIT;
	struct script script = {0};

	assert_true(kind_script(kind, words, &script));
	run(&script, &a, 1, &said, &why);
	assert_int_equal(said.len, len);
	assert_memory_equal(said.s, bytes, len);
	buf_release(&said);
	buf_release(&why);
	script_release(&script);
}

#define SAYS(kind, words, hears, text) says(kind, words, hears, sizeof(hears) - 1, text, sizeof(text) - 1)

static void unknown_kinds_are_none(void **state)
{
	struct script script = {0};

	assert_false(kind_script("gopher", &(struct script_words){0}, &script));
	assert_int_equal(script.n, 0);
}

static void tcp_wants_nothing(void **state)
{
	struct script script = {0};

	assert_true(kind_script("tcp", &(struct script_words){0}, &script));
	assert_int_equal(script.n, 0);
}

static void smtp(void **state)
{
	const struct answer list[] = {
	        YES("220 mail.example ESMTP\r\n|250-mail.example\r\n250-SIZE 1\r\n250 HELP\r\n"),
	        YES("220-a\r\n220 b\r\n|250 ok\r\n"),
	        NO("554 No SMTP service here\r\n", "answered \"554 No SMTP service here\""),
	        NO("220 mail\r\n|501 bad name\r\n", "answered \"501 bad name\""),
	        NO("2\r\n", NULL),
	        MORE("220 mail.example ESMTP\r\n|250-mail.example\r\n"),
	        MORE("220 mail"),
	};
	const struct script_words words = {.host = "proxy.example"};

	ASK("smtp", .host = "proxy.example");
	SAYS("smtp", &words, "220 x\r\n", "EHLO proxy.example\r\n");
}

static void pop3_and_imap(void **state)
{
	{
		const struct answer list[] = {YES("+OK Dovecot ready.\r\n"), NO("-ERR no\r\n", "answered \"-ERR no\""),
		                              MORE("+OK")};

		ASK("pop3", 0);
	}
	{
		const struct answer list[] = {YES("* OK [CAPABILITY IMAP4rev1] ready.\r\n"),
		                              YES("* PREAUTH welcome\r\n"),
		                              NO("* BYE full\r\n", "answered \"* BYE full\"")};

		ASK("imap", 0);
	}
}

static void ssh(void **state)
{
	const struct answer list[] = {
	        YES("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"),
	        YES("SSH-1.99-Cisco\r\n"),
	        YES("a line before it\r\nSSH-2.0-x\r\n"),
	        NO("SSH-1.5-old\n", "answered \"SSH-1.5-old\""),
	        MORE("Exceeded MaxStartups\r\n"),
	};

	ASK("ssh", 0);
}

static void redis(void **state)
{
	const struct answer list[] = {
	        YES("+PONG\r\n"),
	        YES("-NOAUTH Authentication required.\r\n"),
	        YES("-NOPERM this user has no permissions to run the 'ping' command\r\n"),
	        NO("-LOADING Redis is loading the dataset in memory\r\n",
	           "answered \"-LOADING Redis is loading the dataset in memory\""),
	        NO("-MASTERDOWN Link with MASTER is down\r\n", NULL),
	        NO("-BUSY Redis is busy running a script\r\n", NULL),
	};

	ASK("redis", 0);
	SAYS("redis", &(struct script_words){0}, "", "PING\r\n");
}

static void http(void **state)
{
	const struct answer list[] = {
	        YES("HTTP/1.1 200 OK\r\n"),
	        YES("HTTP/1.0 399 what\r\n"),
	        NO("HTTP/1.1 503 Service Unavailable\r\nServer: x\r\n", "status 503"),
	        NO("SSH-2.0-OpenSSH_9.2p1\r\n", "not an HTTP answer: \"SSH-2.0-OpenSSH_9.2p1\""),
	        NO("HTTP/1.1 2x0 OK\r\n", NULL),
	        NO("\n", NULL),
	        MORE("HTTP/1.1 200 O"),
	};
	const struct script_words words = {.path = "/primary", .host = "db1"};

	ASK("http", 0);
	SAYS("http", &words, "",
	     "GET /primary HTTP/1.1\r\nHost: db1\r\nUser-Agent: tcpproxy\r\nConnection: close\r\n\r\n");
	{
		const struct answer other[] = {YES("HTTP/1.1 503 \r\n"), NO("HTTP/1.1 200 OK\r\n", "status 200")};

		ask("http", &(struct script_words){.from = 503, .to = 503}, other, 2);
	}
}

static void pgsql(void **state)
{
	const struct script_words words = {.user = "check"};
	{
		const struct answer list[] = {
		        YES("R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"),
		        YES("R\0\0\0\x08\0\0\0\0"),
		        NO("E\0\0\0\x2fSFATAL\0C57P03\0Mthe database is starting up\0\0",
		           "answered \"the database is starting up\" \"57P03\""),
		        NO("E\0\0\0\x09"
		           "Mxyz\0",
		           NULL),
		        NO("E\xff\xff\xff\xff", NULL),
		        NO("HTTP/1.1 400 Bad Request\r\n", NULL),
		        MORE("R\0\0\0\x17\0\0\0\x0aSCRAM"),
		};

		ASK("pgsql", .user = "check");
		SAYS("pgsql", &words, "", "\0\0\0\x14\0\x03\0\0user\0check\0\0");
	}
	{
		const struct answer list[] = {YES("S"), YES("N"), NO("x", NULL)};

		ASK("pgsql", 0);
		SAYS("pgsql", &(struct script_words){0}, "", "\0\0\0\x08\x04\xd2\x16\x2f");
	}
}

#define GREETING            \
	"\x27\0\0\0\x0a"    \
	"10.11.6-MariaDB\0" \
	"\x05\0\0\0"        \
	"abcdefgh\0"        \
	"\xfe\xf7\x08\x02\0\xff\x81\x15\0"
_Static_assert(sizeof(GREETING) - 1 == 4 + 39, "its length stands in its first byte");

static void mysql(void **state)
{
	const struct answer list[] = {
	        YES(GREETING "\x07\0\0\x02\0\0\0\x02\0\0\0"),
	        YES(GREETING "\x02\0\0\x02\xfex\x01\0\0\x04\0"),                     /* another plug-in, then well */
	        YES(GREETING "\x02\0\0\x02\xfex\x02\0\0\x04\x01\x03\x01\0\0\x05\0"), /* caching_sha2: known */
	        NO(GREETING "\x02\0\0\x02\xfex\x02\0\0\x04\x01\x04", "check needs a password"),
	        NO(GREETING "\x0c\0\0\x02\xff\x15\x04#28000no!", "answered \"no!\""),
	        NO("\x08\0\0\0\xff\x69\x04"
	           "Host!",
	           "answered \"Host!\""),
	        NO("\x01\0\0\0\x09", NULL), /* of the version before 10 */
	        NO("HTTP/1.1 400 Bad Request\r\n", NULL),
	        MORE(GREETING),
	};
	const struct script_words words = {.user = "check"};

	ASK("mysql", .user = "check");
	SAYS("mysql", &words, GREETING,
	     "\x3d\0\0\x01\0\x82\x08\0\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	     "check\0\0mysql_native_password\0");
	SAYS("mysql", &words, "\x01\0\0\0\x0a\x02\0\0\x02\xfex",
	     "\x3d\0\0\x01\0\x82\x08\0\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	     "check\0\0mysql_native_password\0"
	     "\0\0\0\x03");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(unknown_kinds_are_none),
	        cmocka_unit_test(tcp_wants_nothing),
	        cmocka_unit_test(smtp),
	        cmocka_unit_test(pop3_and_imap),
	        cmocka_unit_test(ssh),
	        cmocka_unit_test(redis),
	        cmocka_unit_test(http),
	        cmocka_unit_test(pgsql),
	        cmocka_unit_test(mysql),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
