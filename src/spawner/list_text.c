#include "spawner/list_text.h"

#include <string.h>

/* Where the line begins in which this byte stands. */
static size_t line_of(const struct buf *text, size_t at)
{
	const char *newline = at ? memrchr(text->s, '\n', at) : NULL;

	return newline ? (size_t)(newline + 1 - text->s) : 0;
}

/* Of the first line from there on that ends a list: where the next one begins; 0: there is none. */
static size_t end_of_list(const struct buf *text, size_t from)
{
	const char *at = text->s + from, *end = text->s + text->len;

	for (const char *newline; (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1)
		if (newline == at + 1 && *at == '.')
			return (size_t)(newline + 1 - text->s);
	return 0;
}

bool list_text_add(struct buf *text, const char *piece, size_t len, struct buf *whole)
{
	size_t from = line_of(text, text->len), begins = 0, next;

	buf_adds(text, "");
	buf_add(text, piece, len);
	for (; (next = end_of_list(text, from)); from = begins = next) {
		buf_clear(whole);
		buf_adds(whole, "");
		buf_add(whole, text->s + begins, next - strlen(".\n") - begins);
	}
	text->len -= begins;
	memmove(text->s, text->s + begins, text->len);
	return begins > 0;
}
