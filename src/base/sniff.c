#include "base/sniff.h"

#include <string.h>
#include <strings.h>
#include "base/mem.h"

static const char *const names[SNIFF_WORDS] = {
        [SNIFF_TLS] = "tls",           [SNIFF_SSH] = "ssh",     [SNIFF_HTTP] = "http",   [SNIFF_SOCKS] = "socks",
        [SNIFF_POSTGRES] = "postgres", [SNIFF_REDIS] = "redis", [SNIFF_OTHER] = "other", [SNIFF_SILENT] = "silent",
};

const char *sniff_name(unsigned word)
{
	return word < SNIFF_WORDS ? names[word] : NULL;
}

enum sniff_word sniff_word(const char *name)
{
	for (unsigned i = SNIFF_UNKNOWN + 1; i < SNIFF_WORDS; i++)
		if (strcmp(names[i], name) == 0)
			return (enum sniff_word)i;
	return SNIFF_UNKNOWN;
}

/* ---- what they begin with ---- */

static enum sniff_fit starts(const uint8_t *bytes, size_t n, const char *with, size_t len, size_t *more)
{
	if (memcmp(bytes, with, n < len ? n : len) != 0)
		return SNIFF_NO;
	*more = len;
	return n < len ? SNIFF_MAYBE : SNIFF_YES;
}

static enum sniff_fit wait_for(size_t *more, size_t n)
{
	*more = n;
	return SNIFF_MAYBE;
}

/* A record of a handshake of SSL 3.0 or later; or the hello of SSL 2.0, which may offer later ones: its length has the highest bit. */
static enum sniff_fit fits_tls(const uint8_t *b, size_t n, size_t *more)
{
	if (b[0] & 0x80) {
		if ((n > 2 && b[2] != 1) || (n > 3 && b[3] != 3 && b[3] != 0) ||
		    (n > 4 && (b[3] == 3 ? b[4] > 4 : b[4] != 2)))
			return SNIFF_NO;
		return n < 5 ? wait_for(more, 5) : SNIFF_YES;
	}
	if (b[0] != 22 || (n > 1 && b[1] != 3) || (n > 2 && b[2] > 4))
		return SNIFF_NO;
	return n < 3 ? wait_for(more, 3) : SNIFF_YES;
}

/* A method and a blank: those that are registered, and PRI, with which HTTP/2 begins. */
static enum sniff_fit fits_http(const uint8_t *b, size_t n, size_t *more)
{
	static const char *const methods[] = {
	        "GET",    "HEAD",       "POST",   "PUT",     "DELETE",   "CONNECT",   "OPTIONS",   "TRACE",  "PATCH",
	        "PRI",    "ACL",        "BIND",   "COPY",    "LABEL",    "LINK",      "LOCK",      "MERGE",  "MKCOL",
	        "MOVE",   "MKCALENDAR", "QUERY",  "REBIND",  "PROPFIND", "PROPPATCH", "REPORT",    "SEARCH", "UNBIND",
	        "UNLINK", "UNLOCK",     "UPDATE", "CHECKIN", "CHECKOUT", "PURGE",     "MKACTIVITY"};
	enum sniff_fit best = SNIFF_NO;
	size_t least = SNIFF_MOST;

	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		size_t len = strlen(methods[i]);

		if (memcmp(b, methods[i], n < len ? n : len) != 0 || (n > len && b[len] != ' '))
			continue;
		if (n > len)
			return SNIFF_YES;
		best = SNIFF_MAYBE;
		if (len + 1 < least)
			least = len + 1;
	}
	*more = least;
	return best;
}

/* 5: the number of ways to say who one is, and these; 4: CONNECT or BIND. */
static enum sniff_fit fits_socks(const uint8_t *b, size_t n, size_t *more)
{
	if (b[0] != 4 && b[0] != 5)
		return SNIFF_NO;
	if (n < 2)
		return wait_for(more, 2);
	return b[1] >= 1 && (b[0] == 5 || b[1] <= 2) ? SNIFF_YES : SNIFF_NO;
}

/* A length, and protocol 3, or one of the requests that come before it: CancelRequest, SSLRequest, GSSENCRequest. */
static enum sniff_fit fits_postgres(const uint8_t *b, size_t n, size_t *more)
{
	uint32_t len, code;

	if (b[0] != 0 || (n > 1 && b[1] != 0) || (n > 4 && b[4] != 0 && b[4] != 4) ||
	    (n > 5 && b[5] != (b[4] ? 0xd2 : 3)))
		return SNIFF_NO;
	if (n < 8)
		return wait_for(more, 8);
	len = (uint32_t)b[2] << 8 | b[3];
	code = (uint32_t)b[6] << 8 | b[7];
	if (b[4] == 0)
		return len >= 9 && len <= 10000 ? SNIFF_YES : SNIFF_NO;
	if (code == 0x162e) /* its key may be of any length */
		return len >= 16 && len <= 1024 ? SNIFF_YES : SNIFF_NO;
	return len == 8 && (code == 0x162f || code == 0x1630) ? SNIFF_YES : SNIFF_NO;
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* An array of strings, which is what all libraries send; and PING by hand. */
static enum sniff_fit fits_redis(const uint8_t *b, size_t n, size_t *more)
{
	enum sniff_fit fit;
	size_t at = 1;

	if ((b[0] | 0x20) == 'p') {
		static const char ping[] = "PING\r\n";

		return strncasecmp((const char *)b, ping, n < 6 ? n : 6) != 0 ? SNIFF_NO
		       : n < 6                                                ? wait_for(more, 6)
		                                                              : SNIFF_YES;
	}
	if (b[0] != '*')
		return SNIFF_NO;
	while (at < n && at < 8 && is_digit(b[at]))
		at++;
	if (at == n)
		return wait_for(more, n < 2 ? 5 : n + 3);
	if (at == 1 || b[1] == '0')
		return SNIFF_NO;
	fit = starts(b + at, n - at, "\r\n$", 3, more);
	*more += at;
	return fit;
}

enum sniff_fit sniff_fits(enum sniff_word word, const uint8_t *bytes, size_t n, size_t *more)
{
	if (n == 0)
		return wait_for(more, 1);
	switch (word) {
	case SNIFF_TLS:
		return fits_tls(bytes, n, more);
	case SNIFF_SSH:
		return starts(bytes, n, "SSH-", 4, more);
	case SNIFF_HTTP:
		return fits_http(bytes, n, more);
	case SNIFF_SOCKS:
		return fits_socks(bytes, n, more);
	case SNIFF_POSTGRES:
		return fits_postgres(bytes, n, more);
	case SNIFF_REDIS:
		return fits_redis(bytes, n, more);
	default:
		return SNIFF_NO;
	}
}

/* ---- as a user has said them ---- */

bool sniff_is_pattern(const char *text)
{
	return strncmp(text, "hex:", 4) == 0 || strncmp(text, "text:", 5) == 0;
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* A half of a byte. */
static bool read_nibble(char c, uint8_t *value, uint8_t *mask)
{
	bool any = c == '?' || c == '.';
	int digit = hex_digit(c);

	*value = (uint8_t)(*value << 4 | (digit < 0 ? 0 : digit));
	*mask = (uint8_t)(*mask << 4 | (any ? 0 : 15));
	return any || digit >= 0;
}

static const char *read_hex(const char *text, struct sniff_pattern *ret)
{
	size_t len = strlen(text);

	if (len == 0 || len % 2)
		return "is no pattern: behind hex: stand two hexadecimal digits for each byte, \"?\" for any digit";
	if (len > 2 * SNIFF_PATTERN_MAX)
		return "is too long for a pattern: 64 bytes at most";
	for (size_t i = 0; i < len; i++)
		if (!read_nibble(text[i], &ret->value[i / 2], &ret->mask[i / 2]))
			return "is no pattern: behind hex: stand hexadecimal digits, and \"?\" for any digit";
	ret->n = (uint8_t)(len / 2);
	return NULL;
}

static const char *read_text(const char *text, struct sniff_pattern *ret)
{
	size_t len = strlen(text);

	if (len == 0)
		return "is no pattern: a text belongs behind text:";
	if (len > SNIFF_PATTERN_MAX)
		return "is too long for a pattern: 64 bytes at most";
	memcpy(ret->value, text, len);
	memset(ret->mask, 0xff, len);
	ret->n = (uint8_t)len;
	return NULL;
}

const char *sniff_pattern_read(const char *text, struct sniff_pattern *ret)
{
	memset(ret, 0, sizeof(*ret));
	return *text == 'h' ? read_hex(text + strlen("hex:"), ret) : read_text(text + strlen("text:"), ret);
}

enum sniff_fit sniff_pattern_fits(const struct sniff_pattern *p, const uint8_t *bytes, size_t n, size_t *more)
{
	for (size_t i = 0; i < n && i < p->n; i++)
		if ((bytes[i] ^ p->value[i]) & p->mask[i])
			return SNIFF_NO;
	*more = p->n;
	return n < p->n ? SNIFF_MAYBE : SNIFF_YES;
}

static int digits_said(const struct sniff_pattern *p)
{
	int n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += __builtin_popcount(p->mask[i]);
	return n;
}

int sniff_pattern_compare(const struct sniff_pattern *a, const struct sniff_pattern *b)
{
	return digits_said(a) - digits_said(b);
}
