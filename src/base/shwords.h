/* shwords.h - a line as a shell would split it into words, without anything that it would replace. */
#ifndef BASE_SHWORDS_H
#define BASE_SHWORDS_H

#include <stddef.h>
#include "base/buf.h"

#define SHWORDS_MAX 64

/* Takes `line` apart, in place: the words stand in it. A # at the beginning of a word ends it. Returns NULL, or what is wrong (static). */
const char *shwords_split(char *line, char *words[SHWORDS_MAX], size_t *ret_n);
/* Appends a word so that it is one, in quotes only if it must. */
void shwords_quote(const char *word, struct buf *out);

#endif
