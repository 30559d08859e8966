/* send_proxy.c - send-proxy: what a server hears before the first byte of its client. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/proxy_header.h"
#include "base/text.h"
#include "config/parser.h"

#define TLV_TEXT_MAX 1024 /* bytes of one */
#define TLVS_MAX     16

const char *const server_proxy_words[] = {
        [SERVER_PROXY_UNSAID] = "", [SERVER_PROXY_OFF] = "off", [SERVER_PROXY_V1] = "v1", [SERVER_PROXY_V2] = "v2"};

static const struct {
	const char *name;
	enum send_word word;
} words[] = {
        {"unique-id", SEND_UNIQUE_ID}, {"authority", SEND_AUTHORITY}, {"alpn", SEND_ALPN}, {"crc", SEND_CRC},
        {"pass", SEND_PASS},
};

void send_proxy_free(struct send_proxy *s)
{
	for (size_t i = 0; s && i < s->n_tlvs; i++)
		free(s->tlvs[i].text);
	if (s)
		free(s->tlvs);
	free(s);
}

/* ---- reading ---- */

/* "0xEA", up to `end`. */
static bool read_type(const char *text, size_t len, uint8_t *ret)
{
	char digits[3] = "", *end;

	if (len < 3 || len > 4 || strncasecmp(text, "0x", 2))
		return false;
	memcpy(digits, text + 2, len - 2);
	*ret = (uint8_t)strtoul(digits, &end, 16);
	return !*end;
}

/* The types of pass=0xEA,0x05. NULL: all right. */
static const char *read_pass(const char *text, struct send_proxy *s)
{
	s->words |= SEND_PASS;
	while (true) {
		size_t len = strcspn(text, ",");

		if (s->n_pass == SEND_TYPES_MAX)
			return "names too many types: 32 at most";
		if (!read_type(text, len, &s->pass[s->n_pass]))
			return "is not of the form pass=0xEA,0x05: types are 0x and two digits";
		if (s->pass[s->n_pass] == PROXY_TYPE_CRC32C || s->pass[s->n_pass] == PROXY_TYPE_NOOP)
			return "names a type that is not passed on: 0x03 is a checksum, 0x04 filling";
		s->n_pass++;
		text += len;
		if (!*text++)
			return NULL;
	}
}

/* tlv=0xE0:TEXT. NULL: all right. */
static const char *read_tlv(const char *text, struct send_proxy *s)
{
	size_t len = strcspn(text, ":");
	struct send_tlv tlv;

	if (!text[len] || !read_type(text, len, &tlv.type))
		return "is not of the form tlv=0xE0:TEXT";
	if (tlv.type < 0xe0 || tlv.type > 0xf7)
		return "names a type that is not free: from 0xE0 to 0xEF they are, and up to 0xF7 for trials";
	if (strlen(text + len + 1) > TLV_TEXT_MAX)
		return "is too long: 1024 bytes at most";
	if (s->n_tlvs == TLVS_MAX)
		return "is one too many: there may be 16";
	if (!s->tlvs)
		s->tlvs = mem_alloc(TLVS_MAX * sizeof(*s->tlvs));
	tlv.text = mem_strdup(text + len + 1);
	s->tlvs[s->n_tlvs++] = tlv;
	return NULL;
}

/* "" if there is no such word, NULL: all right, else what is wrong with it. */
static const char *read_word(const char *text, struct send_proxy *s)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (!strcmp(text, words[i].name)) {
			s->words |= (uint8_t)words[i].word;
			return NULL;
		}
	if (!strncmp(text, "pass=", 5))
		return read_pass(text + 5, s);
	if (!strncmp(text, "tlv=", 4))
		return read_tlv(text + 4, s);
	return "";
}

static void unknown_word(struct parser *p, const struct word *w)
{
	static const char *const names[] = {"unique-id", "authority", "alpn", "crc", "pass", "pass=", "tlv=", NULL};
	const char *near = text_nearest(w->text, names), *answer = peer_answer(w->text);
	char shown[SHOWN_MAX];

	lex_show(w->text, shown);
	if (!strcmp(w->text, "tls"))
		parse_error(p, w->column, "\"send-proxy v2 tls\" is not yet supported in this version");
	else if (near)
		parse_error(p, w->column, "%s is no word of send-proxy; did you mean \"%s\"?", shown, near);
	else if (answer)
		parse_error(p, w->column, "%s is no word of send-proxy; %s", shown, answer);
	else
		parse_error(p, w->column,
		            "%s is no word of send-proxy: unique-id, authority, alpn, crc, pass, pass=TYPE,... and "
		            "tlv=TYPE:TEXT are",
		            shown);
}

static bool read_words(struct parser *p, struct word *args, size_t n, struct send_proxy *s)
{
	char shown[SHOWN_MAX];
	bool ok = true;

	for (size_t i = 0; i < n; i++) {
		const char *why;

		if (s->version == 1) {
			parse_error(p, args[i].column, "\"send-proxy v1\" carries no %s: say v2",
			            lex_show(args[i].text, shown));
			return false;
		}
		why = read_word(args[i].text, s);
		if (!why)
			continue;
		ok = false;
		if (*why)
			parse_error(p, args[i].column, "%s %s", lex_show(args[i].text, shown), why);
		else
			unknown_word(p, &args[i]);
	}
	return ok;
}

/* Said in the open section; NULL: off. */
static void put(struct parser *p, struct send_proxy *new)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);
	struct send_proxy *old = s->send_proxy;

	/* the command line may have said it before */
	if (outer ? old != outer->send_proxy : old != NULL) {
		if (s->send_proxy_v2 == old)
			s->send_proxy_v2 = outer ? outer->send_proxy_v2 : NULL;
		send_proxy_free(old);
	}
	s->send_proxy = new;
	if (new &&new->version == 2)
		s->send_proxy_v2 = new;
}

void set_send_proxy(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	bool off = n && !strcmp(args[0].text, "off");
	struct send_proxy *new;

	if (!off && (!n || (strcmp(args[0].text, "v1") && strcmp(args[0].text, "v2")))) {
		parse_error(p, n ? args[0].column : p->line->end, "\"send-proxy\" needs v1 or v2");
		return;
	}
	if (off && n > 1) {
		parse_error(p, args[1].column, "nothing belongs behind \"send-proxy off\"");
		return;
	}
	if (off) {
		put(p, NULL);
		return;
	}
	new = mem_alloc(sizeof(*new));
	*new = (struct send_proxy){.version = (uint8_t)(args[0].text[1] - '0')};
	if (read_words(p, args + 1, n - 1, new))
		put(p, new);
	else
		send_proxy_free(new);
}

/* ---- what it comes to ---- */

void send_proxy_print(const struct send_proxy *s, struct buf *out)
{
	buf_addf(out, " v%u", s->version);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (s->words & words[i].word && !(words[i].word == SEND_PASS && s->n_pass))
			buf_addf(out, " %s", words[i].name);
	for (size_t i = 0; i < s->n_pass; i++)
		buf_addf(out, "%s0x%02X", i ? "," : " pass=", s->pass[i]);
	for (size_t i = 0; i < s->n_tlvs; i++) {
		char *text = mem_printf("tlv=0x%02X:%s", s->tlvs[i].type, s->tlvs[i].text);

		buf_addc(out, ' ');
		lex_quote(text, out);
		free(text);
	}
}

const struct send_proxy *server_send_proxy(const struct section *s, const struct server *server)
{
	static const struct send_proxy plain[] = {{.version = 1}, {.version = 2}};

	switch ((enum server_proxy)server->send_proxy) {
	case SERVER_PROXY_UNSAID:
		break;
	case SERVER_PROXY_OFF:
		return NULL;
	case SERVER_PROXY_V1:
		return &plain[0];
	case SERVER_PROXY_V2:
		return s->send_proxy_v2 ? s->send_proxy_v2 : &plain[1];
	}
	return s->send_proxy;
}

/* Unless it is said, only where clients are announced, too: at the server's own port. */
uint8_t check_proxy_version(const struct section *s, const struct server *server, const struct check_line *l)
{
	const struct send_proxy *how = server_send_proxy(s, server);
	bool own_port = l->port == 0 || l->port == server->port;

	if (l->program || check_is_agent(l) || l->proxy == CHECK_PROXY_NO ||
	    (l->proxy == CHECK_PROXY_UNSAID && !own_port))
		return 0;
	if (l->proxy == CHECK_PROXY_YES && !how)
		return 2;
	return how ? how->version : 0;
}
