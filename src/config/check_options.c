/* check_options.c - OPTION=VALUE in a check line. */
#include "config/checks.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/endpoint.h"

#define PACE_MAX_MS  (24 * 60 * 60 * 1000LL)
#define COUNT_MAX    100
#define STATUS_MIN   100
#define STATUS_MAX   599
#define NAME_MAX_LEN 255
#define COMMON       "every=TIME, timeout=TIME, rise=N, fall=N, fast=TIME, slow=TIME, port=PORT, from=ADDR and proxy=yes|no"

struct option;
/* False: an error was added. */
typedef bool option_fn(struct parser *p, const struct option *o, const struct word *w, struct check_line *l);

struct option {
	const char *name; /* with its = */
	option_fn *read;
	size_t field;
	const char *const kinds[3]; /* that have it; none: all */
};

static const char *said_value(const struct word *w)
{
	return strchr(w->text, '=') + 1;
}

static bool not_allowed(struct parser *p, const struct option *o, const struct word *w, const char *takes)
{
	char shown[SHOWN_MAX];

	parse_error(p, w->column, "%s is not allowed: %s takes %s", lex_show(w->text, shown), o->name, takes);
	return false;
}

static bool read_pace(struct parser *p, const struct option *o, const struct word *w, struct check_line *l)
{
	int64_t *ms = (int64_t *)((char *)l + o->field);

	if (text_parse_time_ms(said_value(w), ms) && *ms >= PACE_MIN_MS && *ms <= PACE_MAX_MS)
		return true;
	return not_allowed(p, o, w, "a time from 100ms to 1d");
}

static bool read_timeout(struct parser *p, const struct option *o, const struct word *w, struct check_line *l)
{
	if (text_parse_time_ms(said_value(w), &l->timeout_ms) && l->timeout_ms > 0 && l->timeout_ms <= PACE_MAX_MS)
		return true;
	return not_allowed(p, o, w, "a time above 0, at most 1d");
}

static bool read_answers(struct parser *p, const struct option *o, const struct word *w, struct check_line *l)
{
	uint64_t n;

	if (!text_parse_uint(said_value(w), COUNT_MAX, &n) || n < 1)
		return not_allowed(p, o, w, "a number of answers from 1 to 100");
	*(uint32_t *)((char *)l + o->field) = (uint32_t)n;
	return true;
}

static bool read_port(struct parser *p, const struct option *o, const struct word *w, struct check_line *l)
{
	if (port_parse(p->world, said_value(w), &l->port))
		return true;
	return not_allowed(p, o, w, "a number from 1 to 65535 or a name from /etc/services");
}

static bool read_from(struct parser *p, const struct option *o, const struct word *w, struct check_line *l)
{
	if (parse_address(p, said_value(w), &l->from, &l->from_zone))
		return true;
	return not_allowed(p, o, w, "an address of this host, without a port");
}

static bool read_proxy(struct parser *p, const struct option *o, const struct word *w, struct check_line *l)
{
	bool yes;

	if (!text_parse_bool(said_value(w), &yes))
		return not_allowed(p, o, w, "yes or no");
	l->proxy = yes ? CHECK_PROXY_YES : CHECK_PROXY_NO;
	return true;
}

static bool read_user(struct parser *p, const struct option *o, const struct word *w, struct check_line *l)
{
	if (!*said_value(w) || strlen(said_value(w)) > NAME_MAX_LEN)
		return not_allowed(p, o, w, "a name, of at most 255 bytes");
	l->user = mem_strdup(said_value(w));
	return true;
}

bool check_word_is_plain(const char *text)
{
	while (isascii(*text) && isgraph((unsigned char)*text))
		text++;
	return !*text;
}

static bool read_host(struct parser *p, const struct option *o, const struct word *w, struct check_line *l)
{
	if (!*said_value(w) || !check_word_is_plain(said_value(w)) || strlen(said_value(w)) > NAME_MAX_LEN)
		return not_allowed(p, o, w, "the name of a host, without blanks");
	l->host = mem_strdup(said_value(w));
	return true;
}

static bool status_parse(const char *text, uint16_t *ret)
{
	uint64_t n;

	if (!text_parse_uint(text, STATUS_MAX, &n) || n < STATUS_MIN)
		return false;
	*ret = (uint16_t)n;
	return true;
}

static bool read_status(struct parser *p, const struct option *o, const struct word *w, struct check_line *l)
{
	char *from = mem_strdup(said_value(w)), *to = strchr(from, '-');
	bool ok;

	if (to)
		*to++ = '\0';
	ok = status_parse(from, &l->status_from) && status_parse(to ? to : from, &l->status_to) &&
	     l->status_from <= l->status_to;
	free(from);
	return ok || not_allowed(p, o, w, "a status from 100 to 599, or FIRST-LAST");
}

#define MEMBER(m) offsetof(struct check_line, m)

static const struct option options[] = {
        {"every=", read_pace, MEMBER(every_ms)},
        {"timeout=", read_timeout, MEMBER(timeout_ms)},
        {"rise=", read_answers, MEMBER(rise)},
        {"fall=", read_answers, MEMBER(fall)},
        {"fast=", read_pace, MEMBER(fast_ms)},
        {"slow=", read_pace, MEMBER(slow_ms)},
        {"port=", read_port},
        {"from=", read_from},
        {"proxy=", read_proxy},
        {"user=", read_user, .kinds = {"pgsql", "mysql"}},
        {"status=", read_status, .kinds = {"http"}},
        {"host=", read_host, .kinds = {"http"}},
};

bool check_word_is_option(const char *text)
{
	return *text != '/' && strchr(text, '=') != NULL;
}

static bool has_option(const char *kind, const struct option *o)
{
	return !o->kinds[0] || (kind && (!strcmp(kind, o->kinds[0]) || (o->kinds[1] && !strcmp(kind, o->kinds[1]))));
}

/* What others call it. */
static const char *option_of_peers(const char *name)
{
	static const char *const words[][2] = {
	        {"inter=", "every="}, {"interval=", "every="}, {"fastinter=", "fast="}, {"downinter=", "slow="},
	        {"addr=", "from="},   {"fails=", "fall="},     {"passes=", "rise="},    {"retry=", "fall="},
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (!strcasecmp(words[i][0], name))
			return words[i][1];
	return NULL;
}

static void unknown_option(struct parser *p, const struct word *w, const char *kind)
{
	const char *words[ARRAY_LEN(options) + 1];
	char *name = mem_strndup(w->text, strcspn(w->text, "=") + 1);
	const char *near = option_of_peers(name);
	struct buf own = BUF_INIT;
	char shown[SHOWN_MAX];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		if (!has_option(kind, &options[i]))
			continue;
		words[n++] = options[i].name;
		if (options[i].kinds[0])
			buf_addf(&own, "%s, ", options[i].name);
	}
	words[n] = NULL;
	if (!near)
		near = text_nearest(name, words);
	lex_show(w->text, shown);
	if (near)
		parse_error(p, w->column, "%s is no option of a check; did you mean \"%s\"?", shown, near);
	else
		parse_error(p, w->column, "%s is no option of a check: %s" COMMON " are", shown, own.s ? own.s : "");
	buf_release(&own);
	free(name);
}

bool check_option_read(struct parser *p, const struct word *w, const char *kind, unsigned *said, struct check_line *l)
{
	char shown[SHOWN_MAX];

	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *o = &options[i];

		if (strncmp(w->text, o->name, strlen(o->name)))
			continue;
		if (!kind && o->kinds[0]) {
			parse_error(p, w->column, "%s stands too early: %s belongs behind \"%s\"",
			            lex_show(w->text, shown), o->name, o->kinds[0]);
			return false;
		}
		if (!has_option(kind, o))
			break;
		if (*said & 1u << i) {
			parse_error(p, w->column, "\"%s\" is said twice in this line", o->name);
			return false;
		}
		*said |= 1u << i;
		return o->read(p, o, w, l);
	}
	unknown_option(p, w, kind);
	return false;
}
