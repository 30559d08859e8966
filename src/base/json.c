#include "base/json.h"

#include <stdint.h>
#include <string.h>
#include "base/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* How many bytes from here on stand for themselves. */
static size_t plain_length(const char *text)
{
	size_t n = 0;

	while (text[n] >= ' ' && text[n] < 0x7f && text[n] != '"' && text[n] != '\\')
		n++;
	return n;
}

static size_t quote_one(struct buf *out, const char *value)
{
	unsigned char c = (unsigned char)*value;
	size_t len = utf8_length(value, strnlen(value, UTF8_MAX));

	if (len == 0)
		buf_adds(out, REPLACEMENT);
	else if (c == '"' || c == '\\')
		buf_addf(out, "\\%c", c);
	else if (c < ' ' || c == 0x7f)
		buf_addf(out, "\\u%04x", c);
	else
		buf_add(out, value, len);
	return len ? len : 1;
}

void json_quote(struct buf *out, const char *value)
{
	if (!value || !*value) {
		buf_adds(out, "null");
		return;
	}
	buf_addc(out, '"');
	for (size_t n; *value; value += n) {
		n = plain_length(value);
		if (n > 0)
			buf_add(out, value, n);
		else
			n = quote_one(out, value);
	}
	buf_addc(out, '"');
}

/* ---- objects ---- */

/* Unless something has just been opened, or there is one. */
static bool needs_comma(const struct buf *out)
{
	char last = out->len > 0 ? out->s[out->len - 1] : '\n';

	return last != '{' && last != '[' && last != ',' && last != '\n';
}

void json_key(struct buf *out, const char *key)
{
	bool comma = needs_comma(out);
	size_t len = strlen(key);
	char *at = buf_extend(out, comma + len + 3);

	if (comma)
		*at++ = ',';
	*at++ = '"';
	memcpy(at, key, len);
	memcpy(at + len, "\":", 2);
}

void json_open(struct buf *out, const char *key, char bracket)
{
	if (key)
		json_key(out, key);
	else if (needs_comma(out))
		buf_addc(out, ',');
	buf_addc(out, bracket);
}

void json_text(struct buf *out, const char *key, const char *value)
{
	json_key(out, key);
	json_quote(out, value);
}

void json_count(struct buf *out, const char *key, uint64_t value)
{
	json_key(out, key);
	buf_addu(out, value);
}

void json_bool(struct buf *out, const char *key, bool value)
{
	json_key(out, key);
	buf_adds(out, value ? "true" : "false");
}

void json_seconds(struct buf *out, const char *key, int64_t us)
{
	char fraction[7] = ".";

	json_key(out, key);
	if (us < 0) {
		buf_adds(out, "null");
		return;
	}
	buf_addu(out, (uint64_t)us / 1000000);
	for (int i = 6; i > 0; i--, us /= 10)
		fraction[i] = (char)('0' + us % 10);
	buf_add(out, fraction, sizeof(fraction));
}
