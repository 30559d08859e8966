/*
 * openings.h - the second stage of finding a section: among those behind sni and protocol, by what the client says first.
 *
 * Pure: bytes in, an answer out. The same bytes lead to the same section, however often they are looked at.
 */
#ifndef CONFIG_OPENINGS_H
#define CONFIG_OPENINGS_H

#include "base/hello.h"
#include "base/record.h"
#include "config/config.h"

/* The section whose they are that a client of s may come to: s, or that of its port. NULL: none, so nobody has to say anything. */
const struct section *openings_of(const struct config *c, const struct section *s);
/* Where a client of s comes to that fits none of them; NULL: nowhere. */
const struct section *openings_rest(const struct config *c, const struct section *s);
/* All that may serve a client of s: those, and that. ret: room for all sections. Returns how many. */
size_t openings_all(const struct config *c, const struct section *s, const struct section **ret);
/* opening.c: how the section was opened, as in the canonical text: "sni a.example.com". */
void opening_print(const struct section *s, struct buf *out);
/* What a section behind sni or protocol belongs to; another one itself. */
const struct section *opening_outer(const struct config *c, const struct section *s);

enum heard_kind {
	HEARD_MORE,     /* it may be one of several still; `more` bytes must be there to tell, at least */
	HEARD_SECTION,  /* `section` */
	HEARD_NO_ROUTE, /* it leads nowhere: `why` */
	HEARD_BAD_TLS,  /* its hello is broken: `why` */
};

struct heard {
	enum heard_kind kind;
	const struct section *section;
	enum sniff_word word; /* what it speaks */
	enum why why;
	size_t more;
};

/* What n > 0 bytes of a client of s say. last: no more will come, or not in time: of what fits already the best one counts; MORE: half
 * of something was said. hello: of this call; it is what was read, if the word is TLS and names are asked for. */
struct heard openings_hear(const struct config *c, const struct section *s, const uint8_t *bytes, size_t n, bool last,
                           struct hello_reader *hello);
/* It has said nothing. */
struct heard openings_silent(const struct config *c, const struct section *s);
/* By names, instead of bytes: its protocol; of TLS the name that it wants ("": none), and its protocols, n_alpn bytes as in hello.h. */
struct heard openings_find(const struct config *c, const struct section *s, enum sniff_word word, const char *name,
                           const uint8_t *alpn, size_t n_alpn);

#endif
