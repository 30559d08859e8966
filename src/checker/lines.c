/* lines.c - protocols whose greeting, or answer, is a line: mail, ssh, redis. */
#include <ctype.h>
#include <string.h>
#include "base/mem.h"
#include "checker/protocols.h"

/* The length of the line at the beginning, its end included; 0: it is not whole. */
static size_t line_length(const char *bytes, size_t n)
{
	const char *end = memchr(bytes, '\n', n);

	return end ? (size_t)(end - bytes) + 1 : 0;
}

static bool begins(const char *bytes, size_t n, const char *with)
{
	size_t len = strlen(with);

	return n >= len && memcmp(bytes, with, len) == 0;
}

/* RFC 5321, section 4.2: "250-text" goes on, "250 text" is the end. The code of the last line counts. */
enum verdict hear_smtp(const struct script_words *words, struct hearing *h)
{
	size_t at = 0, len;

	while ((len = line_length(h->bytes + at, h->n - at)) > 0) {
		const char *line = h->bytes + at;

		if (len < 4 || !isdigit((unsigned char)line[0]) || line[0] != '2')
			return script_no(h, "answered", line, len);
		if (line[3] != '-')
			return VERDICT_YES;
		at += len;
	}
	return VERDICT_MORE;
}

void say_ehlo(const struct script_words *words, struct buf *say)
{
	buf_addf(say, "EHLO %s\r\n", words->host ? words->host : "localhost");
}

static enum verdict hear_greeting(struct hearing *h, const char *a, const char *b)
{
	size_t len = line_length(h->bytes, h->n);

	if (len == 0)
		return VERDICT_MORE;
	if (begins(h->bytes, len, a) || (b && begins(h->bytes, len, b)))
		return VERDICT_YES;
	return script_no(h, "answered", h->bytes, len);
}

enum verdict hear_pop3(const struct script_words *words, struct hearing *h)
{
	return hear_greeting(h, "+OK", NULL);
}

enum verdict hear_imap(const struct script_words *words, struct hearing *h)
{
	return hear_greeting(h, "* OK", "* PREAUTH");
}

/* RFC 4253, section 4.2: a server may send other lines first. */
enum verdict hear_ssh(const struct script_words *words, struct hearing *h)
{
	size_t at = 0, len;

	for (; (len = line_length(h->bytes + at, h->n - at)) > 0; at += len) {
		if (begins(h->bytes + at, len, "SSH-2.0-") || begins(h->bytes + at, len, "SSH-1.99-"))
			return VERDICT_YES;
		if (begins(h->bytes + at, len, "SSH-"))
			return script_no(h, "answered", h->bytes + at, len);
	}
	return VERDICT_MORE;
}

/* A server that asks for a password first, or lets this user do nothing, is there. */
enum verdict hear_redis(const struct script_words *words, struct hearing *h)
{
	static const char *const well[] = {"+PONG", "-NOAUTH", "-NOPERM", "-ERR operation not permitted"};
	size_t len = line_length(h->bytes, h->n);

	if (len == 0)
		return VERDICT_MORE;
	for (size_t i = 0; i < ARRAY_LEN(well); i++)
		if (begins(h->bytes, len, well[i]))
			return VERDICT_YES;
	return script_no(h, "answered", h->bytes, len);
}
