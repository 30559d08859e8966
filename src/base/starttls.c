#include "base/starttls.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"

static const char *const names[] = {[STARTTLS_NONE] = "off",
                                    [STARTTLS_POSTGRES] = "postgres",
                                    [STARTTLS_SMTP] = "smtp",
                                    [STARTTLS_IMAP] = "imap",
                                    [STARTTLS_POP3] = "pop3"};

enum starttls starttls_word(const char *text)
{
	for (size_t i = STARTTLS_POSTGRES; i < ARRAY_LEN(names); i++)
		if (!strcmp(names[i], text))
			return (enum starttls)i;
	return STARTTLS_NONE;
}

const char *starttls_name(enum starttls protocol)
{
	return protocol < ARRAY_LEN(names) ? names[protocol] : "off";
}

/* ---- Postgres ---- */

#define PG_CANCEL  80877102u
#define PG_SSL     80877103u
#define PG_GSS     80877104u
#define PG_VERSION 3u /* the upper half of a startup message's code */

static uint32_t number(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

enum { PG_YES = 1, PG_NO };

/* A hello of TLS without a word before it (sslnegotiation=direct) is one. */
static bool is_hello(const uint8_t *bytes)
{
	return bytes[0] == 0x16;
}

static void hear_postgres(const uint8_t *bytes, size_t n, struct talk_heard *ret)
{
	uint32_t length, code;

	if (n == 0)
		return;
	if (is_hello(bytes)) {
		ret->kind = TALK_PASS;
		ret->step = TALK_PLAIN; /* the server is not asked either */
		return;
	}
	if (n < 8)
		return;
	length = number(bytes);
	code = number(bytes + 4);
	if (code == PG_SSL && length == 8) {
		ret->kind = n == 8 ? TALK_ANSWER : TALK_INJECTION;
		ret->answer = PG_YES;
		ret->step = TALK_OVER;
	} else if (code == PG_GSS && length == 8) {
		ret->kind = TALK_ANSWER;
		ret->answer = PG_NO;
		ret->step = TALK_GOES_ON;
	} else if (code == PG_CANCEL && length >= 16 && length <= TALK_MOST) {
		ret->kind = n >= length ? TALK_CANCEL : TALK_MORE;
		ret->take = (uint16_t)length;
		return;
	} else if (code >> 16 == PG_VERSION) {
		ret->kind = TALK_PASS;
		ret->step = TALK_PLAIN;
	} else {
		ret->kind = TALK_WRONG;
	}
	ret->take = 8;
}

static void ask_postgres(uint8_t step, const uint8_t *bytes, size_t n, struct ask_heard *ret)
{
	static const char request[8] = {0, 0, 0, 8, 4, (char)0xd2, 22, 47}; /* PG_SSL */

	if (step == 0) {
		*ret = (struct ask_heard){.kind = ASK_SAY, .say = request, .n_say = sizeof(request), .step = 1};
	} else if (n > 0) {
		ret->take = 1;
		ret->kind = n > 1 ? ASK_WRONG : *bytes == 'S' ? ASK_DONE : *bytes == 'N' ? ASK_REFUSED : ASK_WRONG;
	}
}

/* ---- lines ---- */

/* The length of the first line, without its end, which is `take` - that long; -1: it is not whole. */
static int line_of(const uint8_t *bytes, size_t n, uint16_t *take)
{
	const uint8_t *end = memchr(bytes, '\n', n < TALK_MOST ? n : TALK_MOST);
	int len;

	if (!end)
		return -1;
	len = (int)(end - bytes);
	*take = (uint16_t)(len + 1);
	return len > 0 && bytes[len - 1] == '\r' ? len - 1 : len;
}

/* The line begins with this word, of whichever case. */
static bool is_word(const char *line, int len, const char *word)
{
	int n = (int)strlen(word);

	return len >= n && !strncasecmp(line, word, (size_t)n) && (len == n || line[n] == ' ');
}

enum { GREETING = 1, HELLO, CAPABILITIES, BEGIN_TLS, FINE, BYE, FIRST_TLS };

static const struct verb {
	enum starttls protocol;
	const char *word;
	uint8_t answer;
} verbs[] = {
        {STARTTLS_SMTP, "EHLO", CAPABILITIES},
        {STARTTLS_SMTP, "HELO", HELLO},
        {STARTTLS_SMTP, "STARTTLS", BEGIN_TLS},
        {STARTTLS_SMTP, "NOOP", FINE},
        {STARTTLS_SMTP, "RSET", FINE},
        {STARTTLS_SMTP, "QUIT", BYE},
        {STARTTLS_IMAP, "CAPABILITY", CAPABILITIES},
        {STARTTLS_IMAP, "STARTTLS", BEGIN_TLS},
        {STARTTLS_IMAP, "NOOP", FINE},
        {STARTTLS_IMAP, "LOGOUT", BYE},
        {STARTTLS_POP3, "CAPA", CAPABILITIES},
        {STARTTLS_POP3, "STLS", BEGIN_TLS},
        {STARTTLS_POP3, "QUIT", BYE},
};

static uint8_t answer_to(enum starttls protocol, const char *line, int len)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (verbs[i].protocol == protocol && is_word(line, len, verbs[i].word))
			return verbs[i].answer;
	return FIRST_TLS;
}

/* IMAP: what stands before the command, if it is no more than what may. false: it is not. */
static bool take_tag(const char **line, int *len, struct talk_heard *ret)
{
	const char *blank = memchr(*line, ' ', (size_t)*len);
	size_t n = blank ? (size_t)(blank - *line) : (size_t)*len;

	if (n == 0 || n > TALK_TAG_MOST)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((*line)[i] <= ' ' || (*line)[i] > '~' || strchr("(){%*\"\\+", (*line)[i]))
			return false;
	memcpy(ret->tag, *line, n);
	ret->n_tag = (uint8_t)n;
	*len -= (int)n + (blank != NULL);
	*line += n + (blank != NULL);
	return true;
}

static void hear_line(enum starttls protocol, uint8_t step, const uint8_t *bytes, size_t n, struct talk_heard *ret)
{
	const char *line = (const char *)bytes;
	int len;

	if (step == TALK_BEGIN) {
		*ret = (struct talk_heard){.kind = TALK_ANSWER, .answer = GREETING, .step = TALK_GOES_ON};
		return;
	}
	len = line_of(bytes, n, &ret->take);
	if (len < 0) {
		ret->kind = n < TALK_MOST ? TALK_MORE : TALK_WRONG;
		return;
	}
	if (protocol == STARTTLS_IMAP && !take_tag(&line, &len, ret)) {
		ret->kind = TALK_WRONG;
		return;
	}
	ret->answer = answer_to(protocol, line, len);
	ret->kind = ret->answer == BYE ? TALK_QUIT : TALK_ANSWER;
	ret->step = TALK_GOES_ON;
	if (ret->answer == BEGIN_TLS) {
		ret->kind = n > ret->take ? TALK_INJECTION : TALK_ANSWER;
		ret->step = TALK_OVER;
	}
}

void starttls_hear(enum starttls protocol, uint8_t step, const uint8_t *bytes, size_t n, struct talk_heard *ret)
{
	*ret = (struct talk_heard){.kind = TALK_MORE};
	if (protocol == STARTTLS_POSTGRES)
		hear_postgres(bytes, n, ret);
	else
		hear_line(protocol, step, bytes, n, ret);
}

/* ---- answers ---- */

static const struct answer {
	enum starttls protocol;
	uint8_t answer;
	const char *text; /* %T: the tag; %H: our name */
} answers[] = {
        {STARTTLS_POSTGRES, PG_YES, "S"},
        {STARTTLS_POSTGRES, PG_NO, "N"},
        {STARTTLS_SMTP, GREETING, "220 %H ESMTP\r\n"},
        {STARTTLS_SMTP, HELLO, "250 %H\r\n"},
        {STARTTLS_SMTP, CAPABILITIES, "250-%H\r\n250 STARTTLS\r\n"},
        {STARTTLS_SMTP, BEGIN_TLS, "220 2.0.0 Ready to start TLS\r\n"},
        {STARTTLS_SMTP, FINE, "250 2.0.0 OK\r\n"},
        {STARTTLS_SMTP, BYE, "221 2.0.0 Bye\r\n"},
        {STARTTLS_SMTP, FIRST_TLS, "530 5.7.0 Must issue a STARTTLS command first\r\n"},
        {STARTTLS_IMAP, GREETING, "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n"},
        {STARTTLS_IMAP, CAPABILITIES, "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n%T OK done\r\n"},
        {STARTTLS_IMAP, BEGIN_TLS, "%T OK begin TLS negotiation now\r\n"},
        {STARTTLS_IMAP, FINE, "%T OK done\r\n"},
        {STARTTLS_IMAP, BYE, "* BYE\r\n%T OK done\r\n"},
        {STARTTLS_IMAP, FIRST_TLS, "%T NO STARTTLS comes first\r\n"},
        {STARTTLS_POP3, GREETING, "+OK ready\r\n"},
        {STARTTLS_POP3, CAPABILITIES, "+OK\r\nSTLS\r\n.\r\n"},
        {STARTTLS_POP3, BEGIN_TLS, "+OK begin TLS negotiation\r\n"},
        {STARTTLS_POP3, BYE, "+OK bye\r\n"},
        {STARTTLS_POP3, FIRST_TLS, "-ERR STLS comes first\r\n"},
};

static void fill(const char *text, const char *tag, size_t n_tag, const char *host, struct buf *out)
{
	for (; *text; text++) {
		if (*text != '%') {
			buf_addc(out, *text);
			continue;
		}
		text++;
		if (*text == 'T')
			buf_add(out, tag, n_tag);
		else
			buf_adds(out, host);
	}
}

void starttls_answer(enum starttls protocol, uint8_t answer, const char *tag, size_t n_tag, const char *host,
                     struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(answers); i++)
		if (answers[i].protocol == protocol && answers[i].answer == answer)
			fill(answers[i].text, tag, n_tag, host, out);
}

/* ---- what a server is asked ---- */

/* Its three digits; 0: they are none. */
static int code_of(const char *line)
{
	int code = 0;

	for (int i = 0; i < 3; i++) {
		if (line[i] < '0' || line[i] > '9')
			return 0;
		code = 10 * code + line[i] - '0';
	}
	return code;
}

/* Of lines "250-TEXT" and, the last, "250 TEXT": the length of all; 0: they are not whole. *code: of the last. Wrong lines have the code 0. */
static size_t smtp_reply(const uint8_t *bytes, size_t n, int *code)
{
	size_t at = 0;
	uint16_t take;

	*code = 0;
	while (at < n) {
		int len = line_of(bytes + at, n - at, &take);
		const char *line = (const char *)bytes + at;

		if (len < 0)
			return n - at < TALK_MOST ? 0 : at + 1;
		at += take;
		*code = len < 3 || (len > 3 && line[3] != ' ' && line[3] != '-') ? 0 : code_of(line);
		if (*code == 0)
			return at;
		if (len == 3 || line[3] == ' ')
			return at;
	}
	return 0;
}

static void ask_smtp(uint8_t step, const uint8_t *bytes, size_t n, const char *host, struct ask_heard *ret)
{
	static char hello[300];
	static const int wanted[] = {220, 250, 220}; /* the greeting, EHLO, STARTTLS */
	size_t len;
	int code;

	if (step >= ARRAY_LEN(wanted)) {
		ret->kind = ASK_WRONG;
		return;
	}
	len = smtp_reply(bytes, n, &code);
	if (len == 0)
		return;
	ret->take = (uint16_t)len;
	ret->step = step + 1;
	if (code == 0 || len < n) /* what comes unasked would be taken for a part of what TLS protects */
		ret->kind = ASK_WRONG;
	else if (code != wanted[step])
		ret->kind = ASK_REFUSED;
	else
		ret->kind = step == 2 ? ASK_DONE : ASK_SAY;
	snprintf(hello, sizeof(hello), "EHLO %s\r\n", host);
	ret->say = step == 0 ? hello : "STARTTLS\r\n";
	ret->n_say = strlen(ret->say);
}

/* One line each: the greeting, and the answer to what was asked. */
static void ask_lines(uint8_t step, const uint8_t *bytes, size_t n, const char *greeting, const char *say,
                      const char *yes, struct ask_heard *ret)
{
	const char *wanted = step == 0 ? greeting : yes;
	int len = line_of(bytes, n, &ret->take);

	if (len < 0) {
		ret->kind = n < TALK_MOST ? ASK_MORE : ASK_WRONG;
		return;
	}
	ret->step = step + 1;
	ret->say = say;
	ret->n_say = strlen(say);
	if (step == 1 && *bytes == '*') { /* IMAP: news, beside the answer */
		ret->kind = ASK_SAY;
		ret->n_say = 0;
		ret->step = step;
		return;
	}
	if (step > 1 || ret->take < n)
		ret->kind = ASK_WRONG;
	else if (len < (int)strlen(wanted) || strncasecmp((const char *)bytes, wanted, strlen(wanted)))
		ret->kind = ASK_REFUSED;
	else
		ret->kind = step == 0 ? ASK_SAY : ASK_DONE;
}

void starttls_ask(enum starttls protocol, uint8_t step, const uint8_t *bytes, size_t n, const char *host,
                  struct ask_heard *ret)
{
	*ret = (struct ask_heard){.kind = ASK_MORE, .step = step};
	switch (protocol) {
	case STARTTLS_POSTGRES:
		ask_postgres(step, bytes, n, ret);
		break;
	case STARTTLS_SMTP:
		ask_smtp(step, bytes, n, host, ret);
		break;
	case STARTTLS_IMAP:
		ask_lines(step, bytes, n, "* OK", "t STARTTLS\r\n", "t OK", ret);
		break;
	case STARTTLS_POP3:
		ask_lines(step, bytes, n, "+OK", "STLS\r\n", "+OK", ret);
		break;
	case STARTTLS_NONE:
		ret->kind = ASK_WRONG;
		break;
	}
}
