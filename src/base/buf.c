#include "base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/text.h"

void buf_reserve(struct buf *b, size_t len)
{
	size_t want, cap;

	CHECK(!__builtin_add_overflow(b->len, len, &want) && want < SIZE_MAX / 4);
	if (want < b->cap)
		return;
	cap = b->cap ? b->cap : 64;
	while (cap <= want)
		cap *= 2;
	b->s = mem_resize(b->s, cap, 1);
	b->cap = cap;
}

char *buf_extend(struct buf *b, size_t len)
{
	char *at;

	buf_reserve(b, len);
	at = b->s + b->len;
	b->len += len;
	b->s[b->len] = '\0';
	return at;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
	char *at = buf_extend(b, len);

	if (len)
		memcpy(at, data, len);
}

void buf_adds(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

void buf_addc(struct buf *b, char c)
{
	*buf_extend(b, 1) = c;
}

void buf_addu(struct buf *b, uint64_t number)
{
	char text[TEXT_UINT_MAX];

	buf_add(b, text, (size_t)(text_put_uint(text, number) - text));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(b, fmt, ap);
	va_end(ap);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	size_t room;
	int len;

	va_copy(again, ap);
	buf_reserve(b, 0);
	room = b->cap - b->len;
	len = vsnprintf(b->s + b->len, room, fmt, ap); /* it mostly fits */
	CHECK(len >= 0);
	if ((size_t)len >= room) {
		buf_reserve(b, (size_t)len);
		vsnprintf(b->s + b->len, (size_t)len + 1, fmt, again);
	}
	va_end(again);
	b->len += (size_t)len;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->s)
		b->s[0] = '\0';
}

void buf_release(struct buf *b)
{
	free(b->s);
	*b = (struct buf)BUF_INIT;
}

char *buf_detach(struct buf *b)
{
	char *s = b->s ? b->s : mem_strdup("");

	*b = (struct buf)BUF_INIT;
	return s;
}
