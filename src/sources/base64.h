/* base64.h - bytes as text, as in RFC 4648, with its padding. */
#ifndef SOURCES_BASE64_H
#define SOURCES_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"

void base64_encode(const void *data, size_t len, struct buf *out);
/* Appends the bytes. False: it is none, and nothing was added. */
bool base64_decode(const char *text, size_t len, struct buf *out);

#endif
