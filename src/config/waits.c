/* waits.c - clients that wait for a server: TIME [max=N], of `queue` and of `on-down hold`. */
#include <string.h>

#include "base/text.h"
#include "config/parser.h"

#define WAIT_USUAL 1000
#define WAIT_MOST  1000000

static bool read_max(struct parser *p, const char *who, const struct word *w, struct wait_rule *ret)
{
	char shown[SHOWN_MAX];
	uint64_t n;

	if (strncmp(w->text, "max=", 4) != 0) {
		parse_error(p, w->column, "%s is too much: %s TIME [max=N]", lex_show(w->text, shown), who);
		return false;
	}
	if (!text_parse_uint(w->text + 4, WAIT_MOST, &n) || n < 1) {
		parse_error(p, w->column, "%s: a number from 1 to %d is allowed", lex_show(w->text, shown), WAIT_MOST);
		return false;
	}
	ret->max = (uint32_t)n;
	return true;
}

bool wait_rule_read(struct parser *p, const char *who, struct word *args, size_t n, struct wait_rule *ret)
{
	char shown[SHOWN_MAX];

	*ret = (struct wait_rule){.max = WAIT_USUAL};
	if (n == 0) {
		parse_error(p, p->line->end, "\"%s\" needs a TIME for which a client waits at most", who);
		return false;
	}
	if (!text_parse_time_ms(args[0].text, &ret->time_ms) || ret->time_ms == 0) {
		parse_error(p, args[0].column,
		            "%s: a time above 0 is allowed: seconds, or a number with ms, s, m, h or d",
		            lex_show(args[0].text, shown));
		return false;
	}
	if (n > 2) {
		parse_error(p, args[2].column, "%s is too much: %s TIME [max=N]", lex_show(args[2].text, shown), who);
		return false;
	}
	return n == 1 || read_max(p, who, &args[1], ret);
}

void wait_rule_print(const struct wait_rule *r, struct buf *out)
{
	char text[TEXT_TIME_MAX];

	buf_addf(out, " %s", text_format_time(r->time_ms, text));
	if (r->max != WAIT_USUAL)
		buf_addf(out, " max=%u", r->max);
}

bool wait_rule_equal(const struct wait_rule *a, const struct wait_rule *b)
{
	return a->time_ms == b->time_ms && a->max == b->max;
}

void set_queue(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct wait_rule *queue = directive_field(p, d), rule;

	if (n == 1 && !strcmp(args[0].text, "off"))
		*queue = (struct wait_rule){0};
	else if (wait_rule_read(p, d->keyword, args, n, &rule))
		*queue = rule;
}
