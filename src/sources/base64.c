#include "sources/base64.h"

#include <stdint.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *data, size_t len, struct buf *out)
{
	const unsigned char *b = data;

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t bits = (uint32_t)b[i] << 16 | (n > 1 ? (uint32_t)b[i + 1] << 8 : 0) | (n > 2 ? b[i + 2] : 0);

		buf_addc(out, digits[bits >> 18]);
		buf_addc(out, digits[bits >> 12 & 63]);
		buf_addc(out, n > 1 ? digits[bits >> 6 & 63] : '=');
		buf_addc(out, n > 2 ? digits[bits & 63] : '=');
	}
}

static int value(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Four characters, of which the last `pad` are padding. */
static bool decode_group(const char *text, unsigned pad, struct buf *out)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < 4; i++) {
		int v = i >= 4 - pad ? 0 : value(text[i]);

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
	}
	for (unsigned i = 0; i < 3 - pad; i++)
		buf_addc(out, (char)(bits >> (16 - 8 * i)));
	return true;
}

bool base64_decode(const char *text, size_t len, struct buf *out)
{
	size_t before = out->len;
	unsigned pad = 0;

	if (len % 4)
		return false;
	if (len && text[len - 1] == '=')
		pad = text[len - 2] == '=' ? 2 : 1;
	for (size_t i = 0; i < len; i += 4) {
		if (decode_group(text + i, i + 4 == len ? pad : 0, out))
			continue;
		out->len = before;
		return false;
	}
	return true;
}
