/*
 * json.h - JSON, written straight into a text. Numbers are written whole: what reads a 64-bit count
 * as a double rounds it, not we.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"

/* A string with its quotes; bytes that are not UTF-8 become U+FFFD. NULL and "": null. */
void json_quote(struct buf *out, const char *value);

/* What follows stands in an object, or (key NULL) in a list; commas come by themselves. Keys are
 * plain words. */
void json_key(struct buf *out, const char *key);
void json_open(struct buf *out, const char *key, char bracket); /* '{' or '['; closed with buf_addc() */
void json_text(struct buf *out, const char *key, const char *value);
void json_count(struct buf *out, const char *key, uint64_t value);
void json_bool(struct buf *out, const char *key, bool value);
void json_seconds(struct buf *out, const char *key, int64_t us); /* negative: null */

#endif
