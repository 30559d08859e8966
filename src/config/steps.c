#include "config/steps.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const char escapes[] = "rnt0", escaped[] = "\r\n\t";

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Two hexadecimal digits. */
static bool hex_byte(const char *text, char *ret)
{
	int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);

	if (low < 0)
		return false;
	*ret = (char)(high << 4 | low);
	return true;
}

/* An escape that is unknown, as it is to be named: a character of several bytes is one. */
static size_t unknown_len(const char *text)
{
	size_t len = 1;

	if (text[1] == 'x')
		return 2 + strnlen(text + 2, 2);
	if (text[1])
		len++;
	while (len > 1 && ((unsigned char)text[len] & 0xc0) == 0x80)
		len++;
	return len;
}

/* One behind a backslash. Returns its length, 0: it is unknown. */
static size_t read_escape(const char *text, char *ret)
{
	const char *known = text[1] ? strchr(escapes, text[1]) : NULL;

	if (known) {
		*ret = escaped[known - escapes];
		return 2;
	}
	return text[1] == 'x' && hex_byte(text + 2, ret) ? 4 : 0;
}

char *steps_read_text(const char *text, size_t *ret_len, struct steps_fault *fault)
{
	char *bytes = mem_alloc(strlen(text) + 1);
	size_t n = 0;

	for (size_t i = 0; text[i];) {
		size_t len = 1;

		bytes[n] = text[i];
		if (text[i] == '\\')
			len = read_escape(text + i, &bytes[n]);
		if (!len) {
			*fault = (struct steps_fault){i, unknown_len(text + i)};
			free(bytes);
			return NULL;
		}
		n++;
		i += len;
	}
	*ret_len = n;
	return bytes;
}

char *steps_read_hex(const char *text, size_t *ret_len, struct steps_fault *fault)
{
	char *bytes = mem_alloc(strlen(text) / 2 + 1);
	size_t n = 0;

	for (size_t i = 0; text[i];) {
		if (text[i] == ' ' || text[i] == '\t') {
			i++;
			continue;
		}
		if (!hex_byte(text + i, &bytes[n])) {
			*fault = (struct steps_fault){i, strnlen(text + i, 2)};
			free(bytes);
			return NULL;
		}
		n++;
		i += 2;
	}
	*ret_len = n;
	return bytes;
}

void steps_write_text(const char *bytes, size_t len, struct buf *out)
{
	for (size_t i = 0; i < len; i++) {
		const char *known = memchr(escaped, bytes[i], sizeof(escaped));

		if (known)
			buf_addf(out, "\\%c", escapes[known - escaped]);
		else if (isascii(bytes[i]) && isprint((unsigned char)bytes[i]) && bytes[i] != '\\')
			buf_addc(out, bytes[i]);
		else
			buf_addf(out, "\\x%02x", (unsigned char)bytes[i]);
	}
}
