/* json.h - answers in JSON. */
#ifndef SOURCES_JSON_H
#define SOURCES_JSON_H

#include <jansson.h>
#include <stddef.h>
#include "base/buf.h"

#define JSON_SHOWN 200 /* bytes of a stranger's words that are repeated; the log cleans them */

/* One value and nothing behind it, no name twice (json_decref()). NULL: *why, which is cleared first, says what it is instead. */
json_t *json_read(const char *text, size_t len, struct buf *why);

#endif
