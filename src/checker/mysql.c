/*
 * mysql.c - the client/server protocol of MySQL and MariaDB (their manuals, "Connection Phase"): a login without a password. A server
 * blocks hosts that connect and do not log in.
 */
#include <stdint.h>
#include <string.h>
#include "checker/protocols.h"

#define NOT_MYSQL "not MySQL:"
#define HEAD      4 /* length (3, the lowest byte first), number */

enum {
	OK = 0x00,
	MORE_DATA = 0x01,
	SWITCH = 0xfe,
	ERROR = 0xff,
	FULL_LOGIN = 0x04, /* in more data of caching_sha2_password: the password itself */
	/* capabilities */
	PROTOCOL_41 = 0x200,
	SECURE_CONNECTION = 0x8000,
	PLUGIN_AUTH = 0x80000,
};

static const unsigned char *packet(const struct hearing *h, size_t at, size_t *len)
{
	const unsigned char *p = (const unsigned char *)h->bytes + at;

	if (h->n < at + HEAD)
		return NULL;
	*len = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16;
	return h->n - at - HEAD < *len ? NULL : p;
}

static void add_packet(struct buf *say, unsigned number, const struct buf *body)
{
	const unsigned char head[HEAD] = {(unsigned char)body->len, (unsigned char)(body->len >> 8), 0,
	                                  (unsigned char)number};

	buf_add(say, head, sizeof(head));
	if (body->len)
		buf_add(say, body->s, body->len);
}

static void add32(struct buf *b, uint32_t n)
{
	const unsigned char bytes[] = {(unsigned char)n, (unsigned char)(n >> 8), (unsigned char)(n >> 16),
	                               (unsigned char)(n >> 24)};

	buf_add(b, bytes, sizeof(bytes));
}

static void log_in(const struct script_words *words, struct buf *say, unsigned number)
{
	struct buf body = BUF_INIT;
	static const char filler[23];

	add32(&body, PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH);
	add32(&body, 1 << 24); /* the largest packet */
	buf_addc(&body, 33);   /* utf8 */
	buf_add(&body, filler, sizeof(filler));
	buf_add(&body, words->user, strlen(words->user) + 1);
	buf_addc(&body, 0); /* the password has no bytes */
	buf_add(&body, "mysql_native_password", sizeof("mysql_native_password"));
	add_packet(say, number, &body);
	buf_release(&body);
}

static enum verdict refused(struct hearing *h, const unsigned char *body, size_t len)
{
	size_t text = len > 3 && body[3] == '#' ? 9 : 3; /* a state of five letters may stand before it */

	if (text > len)
		text = len;
	return script_no(h, "answered", (const char *)body + text, len - text);
}

/* Packets in turn: the greeting, then answers; stage counts those that were answered. */
enum verdict hear_mysql(const struct script_words *words, struct hearing *h)
{
	static const struct buf nothing = BUF_INIT;
	const unsigned char *p;
	size_t at = 0, len = 0;

	for (unsigned i = 0; (p = packet(h, at, &len)); i++, at += HEAD + len) {
		const unsigned char *body = p + HEAD;
		unsigned next = (p[3] + 1u) & 0xff;

		if (len == 0)
			return script_no(h, NOT_MYSQL, h->bytes, h->n);
		if (body[0] == ERROR)
			return refused(h, body, len);
		if (i == 0 && body[0] != 10) /* the version of the protocol */
			return script_no(h, NOT_MYSQL, h->bytes, h->n);
		if (i > 0 && body[0] == OK)
			return VERDICT_YES;
		if (i > 0 && body[0] != SWITCH && body[0] != MORE_DATA)
			return script_no(h, NOT_MYSQL, h->bytes, h->n);
		if (body[0] == MORE_DATA && len > 1 && body[1] == FULL_LOGIN) {
			buf_addf(h->why, "%s needs a password", words->user);
			return VERDICT_NO;
		}
		if (i < *h->stage)
			continue;
		*h->stage = i + 1;
		if (i == 0)
			log_in(words, h->say, next);
		else if (body[0] == SWITCH)
			add_packet(h->say, next, &nothing);
	}
	/* what does not begin as a packet of a sensible length never becomes one */
	return h->n >= at + HEAD && len > SCRIPT_HEARD_MAX ? script_no(h, NOT_MYSQL, h->bytes, h->n) : VERDICT_MORE;
}
