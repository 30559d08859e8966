/*
 * text.h - numbers, times, sizes and words as people write them.
 * Parsers return false on anything that is not wholly of the form; *ret is then untouched.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool text_parse_uint(const char *text, uint64_t max, uint64_t *ret); /* decimal digits only */
bool text_parse_time_ms(const char *text, int64_t *ret);             /* "10", "0.5", "250ms", "3s", "5m", "1h", "2d" */
bool text_parse_size(const char *text, uint64_t *ret);               /* "4096", "64k", "2m", "1g" */
bool text_parse_bool(const char *text, bool *ret);                   /* yes no */

#define TEXT_UINT_MAX 20
/* Decimal digits, without a NUL: at most TEXT_UINT_MAX. Returns what follows the last. */
char *text_put_uint(char *at, uint64_t number);

#define TEXT_TIME_MAX 32
/* The shortest form that parses back to the same: "10", "0.25", "5m"... buf holds TEXT_TIME_MAX. */
const char *text_format_time(int64_t ms, char *buf);

/* The word of `words` (NULL-terminated) nearest to `word` by edit distance, or NULL if none is near
 * enough to be what was meant. */
const char *text_nearest(const char *word, const char *const *words);

#endif
