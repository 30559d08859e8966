/* explain_opening.c - sections behind sni and protocol, in the answer of explain.h. */
#include <string.h>

#include "base/text.h"
#include "config/explain.h"
#include "config/lex.h"

/* ---- what the client says ---- */

static bool read_alpn(const char *at, struct explain *ret, struct buf *why)
{
	ret->n_alpn = 0;
	for (;;) {
		size_t len = strcspn(at, ",");

		if (len == 0 || ret->n_alpn + 1 + len > sizeof(ret->alpn)) {
			buf_adds(why, "alpn= needs protocols, as in alpn=h2,http/1.1");
			return false;
		}
		ret->alpn[ret->n_alpn++] = (uint8_t)len;
		memcpy(ret->alpn + ret->n_alpn, at, len);
		ret->n_alpn += len;
		if (!at[len])
			return true;
		at += len + 1;
	}
}

static bool read_protocol(const char *word, struct explain *ret, struct buf *why)
{
	struct sniff_pattern pattern;
	const char *wrong = NULL;
	char shown[SHOWN_MAX];

	if (sniff_is_pattern(word))
		wrong = sniff_pattern_read(word, &pattern);
	else if (!sniff_word(word))
		wrong = "is no protocol: tls, ssh, http, socks, postgres, redis, other, silent, hex:BYTES or "
		        "text:BYTES";
	if (wrong)
		buf_addf(why, "%s %s", lex_show(word, shown), wrong);
	ret->protocol = word;
	return !wrong;
}

bool explain_opening_word(const char *word, struct explain *ret, struct buf *why)
{
	if (!strncmp(word, "alpn=", 5))
		return read_alpn(word + 5, ret, why);
	if (!strncmp(word, "protocol=", 9))
		return read_protocol(word + 9, ret, why);
	ret->sni = word + 4;
	return true;
}

/* ---- where that leads ---- */

static struct heard hear(const struct config *c, const struct section *s, const struct explain *q)
{
	static struct hello_reader hello; /* of this call */
	bool tls = q->sni || q->n_alpn > 0;
	struct sniff_pattern pattern;

	if (q->protocol && sniff_is_pattern(q->protocol)) {
		sniff_pattern_read(q->protocol, &pattern);
		return openings_hear(c, s, pattern.value, pattern.n, true, &hello);
	}
	return openings_find(c, s,
	                     q->protocol ? sniff_word(q->protocol)
	                     : tls       ? SNIFF_TLS
	                                 : SNIFF_SILENT,
	                     q->sni ? q->sni : "", q->alpn, q->n_alpn);
}

static void say_nothing_said(const struct section *s, struct buf *out)
{
	char text[TEXT_TIME_MAX];

	text_format_time(s->speak_timeout_ms, text);
	buf_addf(out,
	         "says: what the client says first is not known: sni=NAME, alpn=PROTO or protocol=WORD say it; this is "
	         "for one "
	         "that is silent for %s%s\n",
	         text, text[strlen(text) - 1] <= '9' ? " s" : "");
}

const struct section *explain_opening(const struct config *c, const struct section *s, const struct explain *q,
                                      struct buf *out)
{
	struct heard heard;

	if (!openings_of(c, s)) {
		if (q->protocol || q->sni || q->n_alpn > 0)
			buf_adds(out, "section: what the client says first does not matter here\n");
		return s;
	}
	if (!q->protocol && !q->sni && q->n_alpn == 0)
		say_nothing_said(s, out);
	heard = hear(c, s, q);
	if (heard.kind == HEARD_MORE) {
		buf_adds(out, "section: none: more bytes must be there to tell\n");
		return NULL;
	}
	if (heard.kind != HEARD_SECTION) {
		buf_addf(out, "section: none: the client is reset, end=%s why=%s\n",
		         end_name(heard.kind == HEARD_BAD_TLS ? END_BAD_TLS : END_NO_ROUTE), why_name(heard.why));
		return NULL;
	}
	if (heard.section->opening.kind) {
		buf_addf(out, "section: %s (", heard.section->origin);
		opening_print(heard.section, out);
		buf_adds(out, heard.section->called ? ", service " : "");
		buf_adds(out, heard.section->called ? heard.section->called : "");
		buf_adds(out, ")\n");
	} else {
		buf_addf(out, "section: %s: no sni or protocol fits\n", heard.section->origin);
	}
	return heard.section;
}
