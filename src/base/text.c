#include "base/text.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* For thousands of numbers at a time. */
char *text_put_uint(char *at, uint64_t number)
{
	char digits[TEXT_UINT_MAX];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while (number /= 10);
	while (n > 0)
		*at++ = digits[--n];
	return at;
}

/* A limit that no sensible value reaches, and that leaves room for sums. */
#define TIME_MAX_MS (36500LL * 24 * 60 * 60 * 1000)

struct unit {
	const char *name;
	int64_t factor;
};

/* Milliseconds; plain seconds first, so that they win where two forms are equally short. */
static const struct unit time_units[] = {
        {"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

static const struct unit size_units[] = {
        {"", 1},
        {"k", 1 << 10},
        {"m", 1 << 20},
        {"g", 1 << 30},
};

static const struct unit *unit_find(const struct unit *units, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(units[i].name, name))
			return &units[i];
	}
	return NULL;
}

/* Leading decimal digits; returns what follows them, or NULL if there are none or too many. */
static const char *digits(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (*s < '0' || *s > '9')
		return NULL;
	for (; *s >= '0' && *s <= '9'; s++) {
		unsigned int d = (unsigned int)(*s - '0');

		if (n > (UINT64_MAX - d) / 10)
			return NULL;
		n = n * 10 + d;
		if (n > max)
			return NULL;
	}
	*ret = n;
	return s;
}

bool text_parse_uint(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t n;
	const char *end = digits(text, max, &n);

	if (!end || *end)
		return false;
	*ret = n;
	return true;
}

bool text_parse_time_ms(const char *text, int64_t *ret)
{
	uint64_t whole, part = 0, scale = 1, ms;
	const struct unit *unit;
	const char *s = digits(text, TIME_MAX_MS, &whole);

	if (s && *s == '.') {
		const char *point = s++;

		s = digits(s, 999999999, &part);
		if (!s || s - point > 10)
			return false;
		for (const char *p = point + 1; p < s; p++)
			scale *= 10;
	}
	if (!s)
		return false;
	unit = unit_find(time_units, ARRAY_LEN(time_units), s);
	if (!unit)
		return false;
	/* Nothing is rounded: less than a millisecond would become 0, which means "none". */
	if (part * (uint64_t)unit->factor % scale)
		return false;
	if (whole > TIME_MAX_MS / (uint64_t)unit->factor)
		return false;
	ms = whole * (uint64_t)unit->factor + part * (uint64_t)unit->factor / scale;
	if (ms > TIME_MAX_MS)
		return false;
	*ret = (int64_t)ms;
	return true;
}

bool text_parse_size(const char *text, uint64_t *ret)
{
	uint64_t n;
	const struct unit *unit;
	const char *s = digits(text, UINT64_MAX, &n);

	if (!s)
		return false;
	unit = unit_find(size_units, ARRAY_LEN(size_units), s);
	if (!unit || n > UINT64_MAX / (uint64_t)unit->factor)
		return false;
	*ret = n * (uint64_t)unit->factor;
	return true;
}

bool text_parse_bool(const char *text, bool *ret)
{
	if (strcmp(text, "yes") && strcmp(text, "no"))
		return false;
	*ret = text[0] == 'y';
	return true;
}

/* Seconds with a point, without trailing zeros. */
static void format_seconds(int64_t ms, char *buf)
{
	size_t len =
	        (size_t)snprintf(buf, TEXT_TIME_MAX, "%lld.%03lld", (long long)(ms / 1000), (long long)(ms % 1000));

	while (buf[len - 1] == '0')
		buf[--len] = '\0';
	if (buf[len - 1] == '.')
		buf[len - 1] = '\0';
}

const char *text_format_time(int64_t ms, char *buf)
{
	format_seconds(ms, buf);
	for (size_t i = 0; i < ARRAY_LEN(time_units); i++) {
		const struct unit *u = &time_units[i];
		char form[TEXT_TIME_MAX];

		if (ms % u->factor)
			continue;
		snprintf(form, sizeof(form), "%lld%s", (long long)(ms / u->factor), u->name);
		if (strlen(form) < strlen(buf))
			memcpy(buf, form, sizeof(form));
	}
	return buf;
}

/* ---- the word that was meant ---- */

#define WORD_MAX 40

/* Edit distance with insertions, deletions, substitutions and swapped neighbours. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
	size_t row[3][WORD_MAX + 1];
	size_t *before = row[0], *last = row[1], *now = row[2];

	for (size_t j = 0; j <= nb; j++)
		last[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t *spare = before;

		now[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[nb];
}

const char *text_nearest(const char *word, const char *const *words)
{
	size_t len = strlen(word);
	size_t best = (len < 6 ? 1 : len / 3) + 1; /* one more than what is near enough */
	const char *nearest = NULL;

	if (len == 0 || len > WORD_MAX)
		return NULL;
	for (; *words; words++) {
		size_t n = strlen(*words), d;

		if (n > WORD_MAX)
			continue;
		d = distance(word, len, *words, n);
		if (d < best && d < n) {
			best = d;
			nearest = *words;
		}
	}
	return nearest;
}
