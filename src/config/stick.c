/* stick.c - stick: a client that comes again gets its server again. */
#include <string.h>

#include "base/text.h"
#include "config/parser.h"

#define CLIENTS_USUAL 65536
#define CLIENTS_MOST  16000000
#define TIME_MOST_MS  (366LL * 86400 * 1000)

static bool read_clients(struct parser *p, const struct word *w, uint32_t *ret)
{
	char shown[SHOWN_MAX];
	uint64_t n;

	if (strncmp(w->text, "size=", 5) != 0) {
		parse_error(p, w->column, "%s is too much: stick TIME [size=N]", lex_show(w->text, shown));
		return false;
	}
	if (!text_parse_uint(w->text + 5, CLIENTS_MOST, &n) || n < 1) {
		parse_error(p, w->column, "%s: a number from 1 to %d is allowed", lex_show(w->text, shown),
		            CLIENTS_MOST);
		return false;
	}
	*ret = (uint32_t)n;
	return true;
}

void set_stick(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct stick_rule *stick = directive_field(p, d), rule = {.clients = CLIENTS_USUAL};
	char shown[SHOWN_MAX];

	if (n == 1 && !strcmp(args[0].text, "off")) {
		*stick = (struct stick_rule){0};
		return;
	}
	if (!text_parse_time_ms(args[0].text, &rule.time_ms) || rule.time_ms == 0 || rule.time_ms > TIME_MOST_MS) {
		parse_error(p, args[0].column,
		            "%s: off, or a time above 0 and up to 366d is allowed: seconds, or a number with ms, s, m, "
		            "h or d",
		            lex_show(args[0].text, shown));
		return;
	}
	if (n == 1 || read_clients(p, &args[1], &rule.clients))
		*stick = rule;
}

void stick_print(const struct stick_rule *r, struct buf *out)
{
	char text[TEXT_TIME_MAX];

	if (!r->time_ms) {
		buf_adds(out, " off");
		return;
	}
	buf_addf(out, " %s", text_format_time(r->time_ms, text));
	if (r->clients != CLIENTS_USUAL)
		buf_addf(out, " size=%u", r->clients);
}

bool stick_equal(const struct stick_rule *a, const struct stick_rule *b)
{
	return a->time_ms == b->time_ms && a->clients == b->clients;
}

void stick_finish(struct parser *p)
{
	const struct place *said = p->level == GLOBAL ? p->global_said : p->said;
	const struct place *stick = &said[directive_find("stick") - directives];
	const struct place *balance = &said[directive_find("balance") - directives];
	const struct section *s = parse_section(p);

	if (!s->stick.time_ms || s->balance != BALANCE_SOURCE)
		return;
	if (stick->file && balance->file)
		parse_error_at(
		        p, stick->line > balance->line ? stick : balance,
		        "\"stick\" beside \"balance source\": one of both; each takes a client to its server again");
	else if (balance->file)
		parse_error_at(p, balance,
		               "\"balance source\" beside the \"stick\" from further up: one of both; \"stick off\" "
		               "lifts that here");
	else if (stick->file)
		parse_error_at(p, stick,
		               "\"stick\" beside the \"balance source\" from further up: one of both; \"balance "
		               "round-robin\" lifts that here");
}

uint64_t config_stick_clients(const struct config *c)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < c->n_sections; i++)
		if (c->sections[i].stick.time_ms && c->sections[i].n_servers > 0)
			sum += c->sections[i].stick.clients;
	return sum;
}
