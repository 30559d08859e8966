#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static size_t length_by_first(unsigned char c)
{
	if (c < 0x80)
		return 1;
	if (c < 0xc2) /* a following byte, or a form that is longer than needed */
		return 0;
	if (c < 0xe0)
		return 2;
	if (c < 0xf0)
		return 3;
	return c < 0xf5 ? 4 : 0;
}

size_t utf8_length(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n = len > 0 ? length_by_first(s[0]) : 0;

	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90)) /* longer than needed */
		return 0;
	if ((s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90)) /* not a character */
		return 0;
	return n;
}

size_t utf8_whole(const char *text, size_t len)
{
	for (size_t back = 1; back < 4 && back <= len; back++) {
		unsigned char c = (unsigned char)text[len - back];

		if ((c & 0xc0) != 0x80)
			return length_by_first(c) > back ? len - back : len;
	}
	return len;
}

/* A character of n bytes that would do something. */
static bool is_control(const char *text, size_t n)
{
	const unsigned char *s = (const unsigned char *)text;

	if (n == 1)
		return s[0] < ' ' || s[0] == 0x7f;
	if (n == 2)
		return s[0] == 0xc2 && s[1] < 0xa0;
	if (n != 3 || s[0] != 0xe2)
		return false;
	return (s[1] == 0x80 && s[2] >= 0xa8 && s[2] <= 0xae) || (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9);
}

size_t utf8_clean_line(char *text, size_t len)
{
	size_t to = 0;

	for (size_t from = 0, n; from < len; from += n) {
		n = utf8_length(text + from, len - from);
		if (n == 0 || is_control(text + from, n)) {
			text[to++] = '?';
			n += n == 0;
		} else {
			memmove(text + to, text + from, n);
			to += n;
		}
	}
	return to;
}

void utf8_tame(char *text, size_t len)
{
	for (size_t at = 0, n; at < len; at += n) {
		bool bad;

		n = utf8_length(text + at, len - at);
		bad = n == 0 || (is_control(text + at, n) && text[at] != '\n' && text[at] != '\t');
		n += n == 0;
		if (bad)
			memset(text + at, '?', n);
	}
}
