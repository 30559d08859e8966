/* opening.c - what a section behind sni or protocol is for. */
#include <stdlib.h>

#include "config/openings.h"
#include "config/parser.h"

void opening_release(struct opening *o)
{
	words_free(o->words);
	words_free(o->alpn);
	free(o->patterns);
}

void opening_print(const struct section *s, struct buf *out)
{
	buf_adds(out, s->opening.kind == OPENING_SNI ? "sni" : "protocol");
	for (char **w = s->opening.words; w && *w; w++) {
		buf_addc(out, ' ');
		lex_quote(*w, out);
	}
	for (char **a = s->opening.alpn; a && *a; a++) {
		buf_adds(out, a == s->opening.alpn ? " alpn=" : ",");
		buf_adds(out, *a);
	}
}
