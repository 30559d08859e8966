/* ejects.c - eject: servers that clients find bad are left alone for a while. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/parser.h"

#define AFTER_MOST  1000
#define TIME_MOST   (86400 * 1000LL)
#define USUAL_SHARE 50
#define USUAL_TIMES 10 /* as long as the first one, at most */

/* The words behind "eject"; each takes a value. */
static const char *const words[] = {"for", "after", "early", "max", "share", NULL};
enum { FOR, AFTER, EARLY, MAX, SHARE };

static bool read_time(struct parser *p, const struct word *w, const char *name, int64_t *ret)
{
	char shown[SHOWN_MAX];
	int64_t ms;

	if (!text_parse_time_ms(w->text, &ms) || ms == 0 || ms > TIME_MOST) {
		parse_error(p, w->column, "%s %s: a time above 0, of at most a day, is allowed", name,
		            lex_show(w->text, shown));
		return false;
	}
	*ret = ms;
	return true;
}

static bool read_after(struct parser *p, const struct word *w, uint32_t *ret)
{
	char shown[SHOWN_MAX];
	uint64_t n;

	if (!text_parse_uint(w->text, AFTER_MOST, &n) || n == 0) {
		parse_error(p, w->column, "after %s: a number of failures in a row, from 1 to %d, is allowed",
		            lex_show(w->text, shown), AFTER_MOST);
		return false;
	}
	*ret = (uint32_t)n;
	return true;
}

static bool read_share(struct parser *p, const struct word *w, uint32_t *ret)
{
	size_t len = strlen(w->text);
	char shown[SHOWN_MAX];
	uint64_t n = 0;
	char *digits;
	bool ok;

	digits = mem_strndup(w->text, len ? len - 1 : 0);
	ok = len > 1 && w->text[len - 1] == '%' && text_parse_uint(digits, 100, &n) && n > 0;
	free(digits);
	if (!ok)
		parse_error(p, w->column, "share %s: from 1%% to 100%% of the servers of a pool is allowed",
		            lex_show(w->text, shown));
	*ret = (uint32_t)n;
	return ok;
}

static bool read_value(struct parser *p, int which, const struct word *w, struct eject_rule *r)
{
	switch (which) {
	case FOR:
		return read_time(p, w, "for", &r->for_ms);
	case AFTER:
		return read_after(p, w, &r->after);
	case EARLY:
		return read_time(p, w, "early", &r->early_ms);
	case MAX:
		return read_time(p, w, "max", &r->max_ms);
	default:
		return read_share(p, w, &r->share);
	}
}

static int find_word(struct parser *p, const struct directive *d, const struct word *w)
{
	const char *near = text_nearest(w->text, words);
	char shown[SHOWN_MAX];

	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], w->text))
			return i;
	lex_show(w->text, shown);
	if (near)
		parse_error(p, w->column, "%s is no word of eject; did you mean \"%s\"?", shown, near);
	else if (peer_answer(w->text))
		parse_error(p, w->column, "%s is no word of eject; %s", shown, peer_answer(w->text));
	else
		parse_error(p, w->column, "%s is no word of eject: %s", shown, d->arguments);
	return -1;
}

/* *max: what was said behind it; NULL: nothing. */
static bool read_words(struct parser *p, const struct directive *d, struct word *args, size_t n, struct eject_rule *r,
                       const struct word **max)
{
	unsigned said = 0;

	for (size_t i = 0; i < n; i += 2) {
		int which = find_word(p, d, &args[i]);

		if (which < 0)
			return false;
		if (said >> which & 1) {
			parse_error(p, args[i].column, "\"%s\" is said twice", words[which]);
			return false;
		}
		said |= 1u << which;
		if (i + 1 == n) {
			parse_error(p, p->line->end, "\"%s\" needs a value: eject %s", words[which], d->arguments);
			return false;
		}
		if (!read_value(p, which, &args[i + 1], r))
			return false;
		if (which == MAX)
			*max = &args[i + 1];
	}
	return true;
}

static bool complete(struct parser *p, const struct directive *d, struct eject_rule *r, const struct word *max)
{
	char shown[SHOWN_MAX];

	if (!r->for_ms || !r->after) {
		parse_error(p, p->line->end, "\"eject\" needs \"%s\": eject %s", r->for_ms ? "after N" : "for TIME",
		            d->arguments);
		return false;
	}
	if (max && r->max_ms < r->for_ms) {
		parse_error(p, max->column, "max %s is less than the time of the first ejection",
		            lex_show(max->text, shown));
		return false;
	}
	if (!max)
		r->max_ms = r->for_ms * USUAL_TIMES;
	return true;
}

void set_eject(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct eject_rule *eject = directive_field(p, d), rule = {.share = USUAL_SHARE};
	const struct word *max = NULL;

	if (n == 1 && !strcmp(args[0].text, "off"))
		*eject = (struct eject_rule){0};
	else if (read_words(p, d, args, n, &rule, &max) && complete(p, d, &rule, max))
		*eject = rule;
}

void eject_rule_print(const struct eject_rule *r, struct buf *out)
{
	char text[TEXT_TIME_MAX];

	if (!r->for_ms) {
		buf_adds(out, " off");
		return;
	}
	buf_addf(out, " for %s", text_format_time(r->for_ms, text));
	buf_addf(out, " after %u", r->after);
	if (r->early_ms)
		buf_addf(out, " early %s", text_format_time(r->early_ms, text));
	if (r->max_ms != r->for_ms * USUAL_TIMES)
		buf_addf(out, " max %s", text_format_time(r->max_ms, text));
	if (r->share != USUAL_SHARE)
		buf_addf(out, " share %u%%", r->share);
}

bool eject_rule_equal(const struct eject_rule *a, const struct eject_rule *b)
{
	return a->for_ms == b->for_ms && a->after == b->after && a->early_ms == b->early_ms && a->max_ms == b->max_ms &&
	       a->share == b->share;
}

void eject_finish(struct parser *p)
{
	const struct section *s = parse_section(p);
	const struct place *said = &p->said[directive_find("eject") - directives];

	if (p->level != GLOBAL && said->file && s->eject.for_ms && s->n_servers > 0 &&
	    s->servers[0].kind == SERVER_PROGRAM)
		parse_error_at(p, said, "there are no servers to eject: this section leads to a program");
}
