/*
 * pgsql.c - PostgreSQL's protocol, version 3 (its manual, "Message Formats"): a question for TLS, or the beginning of a session, which
 * a server answers by asking for a password.
 */
#include <stdint.h>
#include <string.h>
#include "checker/protocols.h"

#define PROTOCOL_3  196608
#define SSL_REQUEST 80877103
#define NOT_PGSQL   "not PostgreSQL:"
#define LENGTH_MAX  SCRIPT_HEARD_MAX

static uint32_t get32(const char *bytes)
{
	const unsigned char *b = (const unsigned char *)bytes;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void add32(struct buf *b, uint32_t n)
{
	const unsigned char bytes[] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16), (unsigned char)(n >> 8),
	                               (unsigned char)n};

	buf_add(b, bytes, sizeof(bytes));
}

void say_pgsql(const struct script_words *words, struct buf *say)
{
	size_t user = words->user ? strlen(words->user) + 1 : 0;

	if (!words->user) {
		add32(say, 8);
		add32(say, SSL_REQUEST);
		return;
	}
	add32(say, (uint32_t)(4 + 4 + sizeof("user") + user + 1));
	add32(say, PROTOCOL_3);
	buf_add(say, "user", sizeof("user"));
	buf_add(say, words->user, user);
	buf_addc(say, '\0');
}

/* The text of a field of an error, or NULL. */
static const char *field(const char *at, const char *end, char which)
{
	while (at < end && *at) {
		const char *text = at + 1, *over = memchr(text, '\0', (size_t)(end - text));

		if (!over)
			return NULL;
		if (*at == which)
			return text;
		at = over + 1;
	}
	return NULL;
}

static enum verdict refused(struct hearing *h, size_t len)
{
	const char *end = h->bytes + 1 + len, *text = field(h->bytes + 5, end, 'M'),
	           *code = field(h->bytes + 5, end, 'C');

	if (!text)
		text = "an error";
	script_no(h, "answered", text, strlen(text));
	if (code) {
		buf_addc(h->why, ' ');
		script_quote(h->why, code, strlen(code));
	}
	return VERDICT_NO;
}

/* "R" asks for a password, or says that none is needed; "E" is an error: starting up, too many, nobody of this name may come. */
enum verdict hear_pgsql(const struct script_words *words, struct hearing *h)
{
	uint32_t len;

	if (h->n == 0)
		return VERDICT_MORE;
	if (!words->user && (h->bytes[0] == 'S' || h->bytes[0] == 'N'))
		return VERDICT_YES;
	if (h->bytes[0] != 'R' && h->bytes[0] != 'E')
		return script_no(h, NOT_PGSQL, h->bytes, h->n);
	if (h->n < 5)
		return VERDICT_MORE;
	len = get32(h->bytes + 1);
	if (len < 8 || len > LENGTH_MAX)
		return script_no(h, NOT_PGSQL, h->bytes, h->n);
	if (h->n < 1 + len)
		return VERDICT_MORE;
	return h->bytes[0] == 'R' ? VERDICT_YES : refused(h, len);
}
