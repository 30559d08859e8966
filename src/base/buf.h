/*
 * buf.h - a text that grows. Always NUL-terminated once something was added.
 * Memory that cannot be had ends the program with a message: nothing that uses a buf
 * handles bytes of a client.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	char *s;    /* NULL while empty; owned */
	size_t len; /* without the NUL */
	size_t cap;
};

#define BUF_INIT           \
	{                  \
		NULL, 0, 0 \
	}

void buf_reserve(struct buf *b, size_t len); /* so much can be added without another allocation */
char *buf_extend(struct buf *b, size_t len); /* so many bytes more, which the caller writes */
void buf_add(struct buf *b, const void *data, size_t len);
void buf_adds(struct buf *b, const char *text);
void buf_addc(struct buf *b, char c);
void buf_addu(struct buf *b, uint64_t number); /* in decimals */
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_clear(struct buf *b);   /* length 0, memory kept */
void buf_release(struct buf *b); /* memory freed, b is BUF_INIT again */
char *buf_detach(struct buf *b); /* the caller frees the text ("" if nothing was added) */

#endif
