/*
 * format.h - the form of an access record in the user's own words.
 *
 *   {key}   the value under this key, as in the usual record; a missing one is "-"
 *   %xx     the same in the spelling of HAProxy, for formats that are there already
 *   {{ }} %%  the characters themselves
 *
 * format_keys names them all. What stands beside them is copied as it is.
 */
#ifndef BASE_FORMAT_H
#define BASE_FORMAT_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/record.h"

struct format_key {
	const char *key;
	const char *haproxy; /* after the %; NULL: has no such spelling */
	const char *help;
};
extern const struct format_key format_keys[];
extern const unsigned n_format_keys;

/* false: *why says what is wrong, and what is allowed. */
bool format_check(const char *format, struct buf *why);
/* Appends the record, one line without a newline. A format that is wrong is copied from there on.
 */
void format_render(const char *format, const struct record *r, struct buf *out);

#endif
