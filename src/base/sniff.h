/*
 * sniff.h - which protocol is it that a client speaks? Told by its first bytes, and only by them: pure, and nothing is kept between two
 * calls, so that any number of bytes may be looked at as often as need be.
 */
#ifndef BASE_SNIFF_H
#define BASE_SNIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sniff_word {
	SNIFF_UNKNOWN, /* nothing was decided yet */
	SNIFF_TLS,
	SNIFF_SSH,
	SNIFF_HTTP,
	SNIFF_SOCKS,
	SNIFF_POSTGRES,
	SNIFF_REDIS,
	SNIFF_OTHER,  /* none of these */
	SNIFF_SILENT, /* nobody has spoken */
	SNIFF_WORDS
};

enum sniff_fit {
	SNIFF_NO,
	SNIFF_MAYBE, /* so far */
	SNIFF_YES,
};

/* NULL: SNIFF_UNKNOWN, or none. */
const char *sniff_name(unsigned word);
/* SNIFF_UNKNOWN: there is no such word. */
enum sniff_word sniff_word(const char *name);

/* Do the n bytes begin as this protocol does? MAYBE: *more is how many must be there at least to tell; it is not above
 * SNIFF_MOST. Only of those before SNIFF_OTHER; n may be 0. */
#define SNIFF_MOST 64
enum sniff_fit sniff_fits(enum sniff_word word, const uint8_t *bytes, size_t n, size_t *more);

/* Bytes as a user has said them: `value` where `mask` has a bit. */
#define SNIFF_PATTERN_MAX 64
struct sniff_pattern {
	uint8_t n;
	uint8_t value[SNIFF_PATTERN_MAX], mask[SNIFF_PATTERN_MAX];
};
/* Reads "text:..." or "hex:..."; in the latter "?" stands for any digit. NULL, or what is wrong with it (static text). */
const char *sniff_pattern_read(const char *text, struct sniff_pattern *ret);
bool sniff_is_pattern(const char *text);
enum sniff_fit sniff_pattern_fits(const struct sniff_pattern *p, const uint8_t *bytes, size_t n, size_t *more);
/* Of two that fit, the one that says more: below, 0, above, as a and b. */
int sniff_pattern_compare(const struct sniff_pattern *a, const struct sniff_pattern *b);

#endif
