/*
 * lines.h - a list of servers that is being put together from what a source holds. Whoever may write a key or a value there may lie
 * in it: what is no line of a server (one that tcpproxy would take behind `server`) is left out, and said why.
 */
#ifndef SOURCES_LINES_H
#define SOURCES_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"

#define LINES_MAX 4096 /* servers of one pool */
#define LINE_LONG 1024 /* the longest line, in bytes */

struct lines {
	char **list; /* owned */
	size_t n, cap;
	size_t found;       /* so many were given, those that are left out as well */
	struct buf refused; /* why these were left out, a line each */
};

/* NULL: it is one server, of this network or a Unix socket; a program is none. Else what is wrong, in *why, which is cleared first. */
bool line_is_server(const char *line, struct buf *why);

/* One more; blanks and newlines around it do not count. from: where it stands, for the message; a text of any bytes. */
void lines_add(struct lines *l, const char *text, size_t len, const char *from);
/* That cannot be a line at all. */
void lines_refuse(struct lines *l, const char *from, const char *why);

/* Sorted, each once, and not more than LINES_MAX: the last are left out then, and so is what cannot be in one pool with others. */
void lines_finish(struct lines *l);
/* Of a finished list: a line each, or "none". */
void lines_print(const struct lines *l, struct buf *out);
void lines_release(struct lines *l);

#endif
