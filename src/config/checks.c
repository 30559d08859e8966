/* checks.c - check: how the servers of a section are asked whether they are well; and on-down. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/checks.h"
#include "config/endpoint.h"
#include "config/parser.h"
#include "config/steps.h"

#define EVERY_MS     2000
#define TIMEOUT_MS   10000 /* the default, where every= is longer */
#define RISE         2
#define FALL         3
#define STEP_MAX_LEN 16384 /* no more of what a server says is looked at */
#define STEP_WORDS   "send, send-hex, expect, expect-hex, expect-begin and expect-not"

/* Of the members that are a time; unless they are said they follow from every=. */
static int64_t default_timeout(const struct check_line *l)
{
	return l->every_ms < TIMEOUT_MS ? l->every_ms : TIMEOUT_MS;
}

static int64_t default_fast(const struct check_line *l)
{
	return l->every_ms / 4 > PACE_MIN_MS ? l->every_ms / 4 : PACE_MIN_MS;
}

static void entry_release(struct check_line *l)
{
	for (size_t i = 0; i < l->n_steps; i++)
		free(l->steps[i].bytes);
	free(l->steps);
	free(l->kind);
	words_free(l->program);
	free(l->user);
	free(l->path);
	free(l->host);
	free(l->what);
}

bool check_is_agent(const struct check_line *l)
{
	return strcmp(l->kind, "agent") == 0;
}

void check_lines_free(struct check_line *checks, size_t n)
{
	for (size_t i = 0; i < n; i++)
		entry_release(&checks[i]);
	free(checks);
}

/* ---- steps ---- */

static const struct step_word {
	const char *name;
	enum check_word word;
	char *(*read)(const char *text, size_t *ret_len, struct steps_fault *fault);
} step_words[] = {
        /* The first of each word is the one that is printed. */
        {"send", CHECK_SEND, steps_read_text},
        {"expect", CHECK_EXPECT, steps_read_text},
        {"expect-begin", CHECK_EXPECT_BEGIN, steps_read_text},
        {"expect-not", CHECK_EXPECT_NOT, steps_read_text},
        {"send-hex", CHECK_SEND, steps_read_hex},
        {"expect-hex", CHECK_EXPECT, steps_read_hex},
};

static const struct step_word *step_word(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(step_words); i++)
		if (!strcmp(step_words[i].name, text))
			return &step_words[i];
	return NULL;
}

static void wrong_text(struct parser *p, const struct word *w, const struct steps_fault *fault, bool hex)
{
	char *part = mem_strndup(w->text + fault->at, fault->len), shown[SHOWN_MAX];
	uint32_t column = lex_column(p->line, w, fault->at);

	lex_show(part, shown);
	if (hex)
		parse_error(p, column, "%s is no byte: two hexadecimal digits are one", shown);
	else
		parse_error(p, column,
		            "unknown escape %s: \\r, \\n, \\t, \\0 and \\xHH are known; a backslash is \\x5c", shown);
	free(part);
}

static bool read_step(struct parser *p, const struct step_word *word, const struct word *w, struct check_line *l)
{
	struct steps_fault fault;
	size_t len;
	char *bytes = word->read(w->text, &len, &fault);

	if (!bytes) {
		wrong_text(p, w, &fault, word->read == steps_read_hex);
		return false;
	}
	if (len < 1 || len > STEP_MAX_LEN) {
		parse_error(p, w->column, "\"%s\" takes 1 to %d bytes", word->name, STEP_MAX_LEN);
		free(bytes);
		return false;
	}
	l->steps = mem_resize(l->steps, l->n_steps + 1, sizeof(*l->steps));
	l->steps[l->n_steps++] = (struct check_step){.word = word->word, .bytes = bytes, .len = len};
	return true;
}

static bool unknown_step(struct parser *p, const struct word *w)
{
	const char *words[ARRAY_LEN(step_words) + 1];
	char shown[SHOWN_MAX];
	const char *near;

	for (size_t i = 0; i < ARRAY_LEN(step_words); i++)
		words[i] = step_words[i].name;
	words[ARRAY_LEN(step_words)] = NULL;
	near = text_nearest(w->text, words);
	lex_show(w->text, shown);
	if (near)
		parse_error(p, w->column, "%s is no step of a check; did you mean \"%s\"?", shown, near);
	else if (check_word_is_option(w->text))
		parse_error(p, w->column, "%s is no step of a check: options stand before the first step", shown);
	else
		parse_error(p, w->column, "%s is no step of a check: " STEP_WORDS " are", shown);
	return false;
}

static bool read_steps(struct parser *p, struct word *args, size_t n, struct check_line *l)
{
	l->kind = mem_strdup("steps");
	for (size_t i = 0; i < n; i += 2) {
		const struct step_word *word = step_word(args[i].text);

		if (!word)
			return unknown_step(p, &args[i]);
		if (i + 1 == n) {
			parse_error(p, p->line->end, "\"%s\" needs a %s", word->name,
			            word->read == steps_read_hex ? "HEX" : "TEXT");
			return false;
		}
		if (!read_step(p, word, &args[i + 1], l))
			return false;
	}
	return true;
}

/* ---- the line ---- */

static const char *const kinds[] = {"tcp",  "smtp",  "pop3",  "imap",    "ssh",   "redis",
                                    "http", "pgsql", "mysql", "program", "agent", NULL};
static const char kinds_named[] =
        "tcp, smtp, pop3, imap, ssh, redis, http, pgsql, mysql, program, agent, or steps that begin with send or "
        "expect";

static bool unknown_kind(struct parser *p, const struct word *w)
{
	const char *near = text_nearest(w->text, kinds);
	char shown[SHOWN_MAX];

	lex_show(w->text, shown);
	if (near)
		parse_error(p, w->column, "%s is no kind of check; did you mean \"%s\"?", shown, near);
	else
		parse_error(p, w->column, "%s is no kind of check: %s", shown, kinds_named);
	return false;
}

static bool is_kind(const char *text)
{
	for (size_t i = 0; kinds[i]; i++)
		if (!strcmp(kinds[i], text))
			return true;
	return false;
}

static bool read_path(struct parser *p, const struct word *w, struct check_line *l)
{
	char shown[SHOWN_MAX];

	if (!check_word_is_plain(w->text) || l->path) {
		parse_error(p, w->column,
		            l->path ? "%s is too much: a check asks for one path"
		                    : "%s is no path of a request: it has no blanks, and only ASCII",
		            lex_show(w->text, shown));
		return false;
	}
	l->path = mem_strdup(w->text);
	return true;
}

static bool too_much(struct parser *p, const struct word *w, const char *kind)
{
	char shown[SHOWN_MAX];

	lex_show(w->text, shown);
	if (step_word(w->text))
		parse_error(p, w->column, "%s is too much: steps stand without \"%s\"", shown, kind);
	else if (!strcmp(kind, "http"))
		parse_error(p, w->column,
		            "%s is too much: check http [PATH] [status=200-399] [host=NAME]; PATH begins with /",
		            shown);
	else
		parse_error(p, w->column, "%s is too much behind \"check %s\"", shown, kind);
	return false;
}

/* What stands behind the kind. */
static bool read_words(struct parser *p, struct word *args, size_t n, unsigned *said, struct check_line *l)
{
	bool ok = true;

	for (size_t i = 0; i < n; i++) {
		if (check_word_is_option(args[i].text))
			ok &= check_option_read(p, &args[i], l->kind, said, l);
		else if (*args[i].text == '/' && !strcmp(l->kind, "http"))
			ok &= read_path(p, &args[i], l);
		else
			return too_much(p, &args[i], l->kind);
	}
	if (ok && !strcmp(l->kind, "mysql") && !l->user) {
		parse_error(p, p->line->end,
		            "\"check mysql\" needs user=NAME: a server blocks hosts that connect and do not log in");
		return false;
	}
	return ok;
}

/* All words are the program's. */
static bool read_program(struct parser *p, struct word *args, size_t n, struct check_line *l)
{
	char shown[SHOWN_MAX];

	if (n < 2) {
		parse_error(p, p->line->end, "\"check program\" needs a program");
		return false;
	}
	if (*args[1].text != '/' && *args[1].text != '.') {
		parse_error(p, args[1].column, "%s is no path: a program begins with / or .",
		            lex_show(args[1].text, shown));
		return false;
	}
	l->kind = mem_strdup("program");
	l->program = words_copy(args + 1, n - 1);
	free(l->program[0]);
	l->program[0] = parse_path(p, args[1].text);
	return true;
}

/* The port of a program beside the server, which speaks for it. */
static bool read_agent(struct parser *p, struct word *args, size_t n, unsigned *said, struct check_line *l)
{
	char shown[SHOWN_MAX];

	if (n < 2) {
		parse_error(p, p->line->end, "\"check agent\" needs the port of the agent");
		return false;
	}
	if (l->port) {
		parse_error(p, args[0].column, "\"check agent PORT\" and port= exclude each other");
		return false;
	}
	if (!port_parse(p->world, args[1].text, &l->port)) {
		parse_error(p, args[1].column, "%s is no port: a number from 1 to 65535, or a name from /etc/services",
		            lex_show(args[1].text, shown));
		return false;
	}
	l->kind = mem_strdup("agent");
	return read_words(p, args + 2, n - 2, said, l);
}

static bool read_kind(struct parser *p, struct word *args, size_t n, unsigned *said, struct check_line *l)
{
	const char *kind = args[0].text;

	if (step_word(kind))
		return read_steps(p, args, n, l);
	if (!strcmp(kind, "off")) {
		parse_error(p, args[0].column, "\"check off\" stands alone: no other word belongs to it");
		return false;
	}
	if (!strcmp(kind, "program"))
		return read_program(p, args, n, l);
	if (!strcmp(kind, "agent"))
		return read_agent(p, args, n, said, l);
	if (!is_kind(kind))
		return unknown_kind(p, &args[0]);
	l->kind = mem_strdup(kind);
	return read_words(p, args + 1, n - 1, said, l);
}

static bool read_line(struct parser *p, struct word *args, size_t n, struct check_line *l)
{
	unsigned said = 0;
	bool ok = true;
	size_t i = 0;

	for (; i < n && check_word_is_option(args[i].text); i++)
		ok &= check_option_read(p, &args[i], NULL, &said, l);
	if (i == n) {
		parse_error(p, p->line->end, "\"check\" needs a kind: %s", kinds_named);
		return false;
	}
	return read_kind(p, args + i, n - i, &said, l) && ok;
}

/* ---- the canonical text ---- */

static void add_word(struct buf *out, const char *name, const char *value)
{
	struct buf word = BUF_INIT;

	buf_addf(&word, "%s%s", name, value);
	buf_addc(out, ' ');
	lex_quote(word.s, out);
	buf_release(&word);
}

static void print_step(const struct check_step *step, bool public, struct buf *out)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(step_words); i++) {
		if (step_words[i].word == step->word) {
			buf_addf(out, " %s", step_words[i].name);
			break;
		}
	}
	if (public && step->word == CHECK_SEND)
		buf_adds(&text, "***");
	else
		steps_write_text(step->bytes, step->len, &text);
	add_word(out, "", text.s);
	buf_release(&text);
}

static void print_words(const struct check_line *l, struct buf *out)
{
	buf_addf(out, " %s", l->kind);
	if (check_is_agent(l))
		buf_addf(out, " %u", l->port);
	if (l->path)
		add_word(out, "", l->path);
	if (l->status_from && l->status_from == l->status_to)
		buf_addf(out, " status=%u", l->status_from);
	else if (l->status_from)
		buf_addf(out, " status=%u-%u", l->status_from, l->status_to);
	if (l->host)
		add_word(out, "host=", l->host);
	if (l->user)
		add_word(out, "user=", l->user);
	for (char **word = l->program; word && *word; word++)
		add_word(out, "", *word);
}

/* What is asked, and where. */
static void print_what(const struct config *c, const struct check_line *l, bool public, struct buf *out)
{
	char text[ADDR_TEXT_MAX];

	if (l->port && !check_is_agent(l))
		buf_addf(out, " port=%u", l->port);
	if (l->from.family != AF_UNSPEC)
		add_word(out, "from=", addr_format_zone(&l->from, config_zone(c, l->from_zone), text));
	if (l->proxy != CHECK_PROXY_UNSAID)
		buf_addf(out, " proxy=%s", l->proxy == CHECK_PROXY_YES ? "yes" : "no");
	if (!l->n_steps)
		print_words(l, out);
	for (size_t i = 0; i < l->n_steps; i++)
		print_step(&l->steps[i], public, out);
}

void check_describe(const struct config *c, const struct check_line *l, struct buf *out)
{
	struct buf text = BUF_INIT;

	print_what(c, l, true, &text);
	buf_adds(out, text.s + 1);
	buf_release(&text);
}

static void print_time(const char *name, int64_t ms, int64_t usual, struct buf *out)
{
	char text[TEXT_TIME_MAX];

	if (ms != usual)
		buf_addf(out, " %s%s", name, text_format_time(ms, text));
}

static void print_number(const char *name, uint32_t n, uint32_t usual, struct buf *out)
{
	if (n != usual)
		buf_addf(out, " %s%u", name, n);
}

void check_line_print(const struct config *c, const struct check_line *l, bool public, struct buf *out)
{
	struct buf text = BUF_INIT;

	print_time("every=", l->every_ms, EVERY_MS, &text);
	print_time("timeout=", l->timeout_ms, default_timeout(l), &text);
	print_number("rise=", l->rise, RISE, &text);
	print_number("fall=", l->fall, FALL, &text);
	print_time("fast=", l->fast_ms, default_fast(l), &text);
	print_time("slow=", l->slow_ms, l->every_ms, &text);
	print_what(c, l, public, &text);
	buf_adds(out, text.s + 1);
	buf_release(&text);
}

/* ---- the section ---- */

/* The first line of a section replaces what it inherits. False: this line is not to be followed. */
static bool section_says(struct parser *p, const struct directive *d, bool off)
{
	struct section *s = parse_section(p);
	struct place *said = &(p->level == GLOBAL ? p->global_said : p->said)[d - directives];
	struct place here = place_here(p, p->line->words[0].column);

	if (!said->file) {
		*said = here;
		s->checks = NULL;
		s->n_checks = 0;
		p->checks_off = off;
		return true;
	}
	/* What the command line names is not added to, but replaces. */
	if (said->command_line && !here.command_line)
		return false;
	if (!off && !p->checks_off)
		return true;
	if (said->command_line)
		parse_error(p, here.column, "\"check off\" stands alone; %s says \"check\", too", said->file);
	else
		parse_error(p, here.column, "\"check off\" stands alone in a section; the first \"check\" is at %s:%u",
		            said->file, said->line);
	return false;
}

static void line_add(struct parser *p, struct check_line *l)
{
	struct section *s = parse_section(p);
	struct buf what = BUF_INIT;

	if (s->n_checks == CHECK_LINES_MAX) {
		parse_error(p, p->line->words[0].column, "a section has at most %d \"check\" lines", CHECK_LINES_MAX);
		entry_release(l);
		return;
	}
	print_what(p->c, l, false, &what);
	l->what = mem_strdup(what.s + 1);
	buf_release(&what);
	s->checks = mem_resize(s->checks, s->n_checks + 1, sizeof(*s->checks));
	s->checks[s->n_checks++] = *l;
}

/* What follows from what is said. Two ways to ask for the same become one. */
static void line_finish(struct check_line *l)
{
	if (!l->timeout_ms)
		l->timeout_ms = default_timeout(l);
	if (!l->fast_ms)
		l->fast_ms = default_fast(l);
	if (!l->slow_ms)
		l->slow_ms = l->every_ms;
	if (l->path && !strcmp(l->path, "/")) {
		free(l->path);
		l->path = NULL;
	}
	if (l->status_from == 200 && l->status_to == 399)
		l->status_from = l->status_to = 0;
}

void set_check(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct check_line l = {.every_ms = EVERY_MS, .rise = RISE, .fall = FALL, .from = {.family = AF_UNSPEC}};
	bool off = n == 1 && !strcmp(args[0].text, "off");

	if (!section_says(p, d, off) || off)
		return;
	if (!read_line(p, args, n, &l)) {
		entry_release(&l);
		return;
	}
	line_finish(&l);
	line_add(p, &l);
}

/* Whether a port refuses is decided by checks: without one its servers are asked whether they take a connection. */
static void imply(struct parser *p, struct section *s, const struct place *said)
{
	struct check_line l = {.every_ms = EVERY_MS, .rise = RISE, .fall = FALL, .implied = true};

	if (said->file && p->checks_off) {
		parse_error_at(p, said, "\"on-down refuse\" needs a check: \"check off\" cannot stand beside it");
		return;
	}
	l.kind = mem_strdup("tcp");
	line_finish(&l);
	s->checks = NULL;
	line_add(p, &l);
}

void check_lines_finish(struct parser *p)
{
	struct section *s = parse_section(p);
	const struct place *said = &p->said[directive_find("check") - directives];

	if (p->level == GLOBAL)
		return;
	if (said->file && !p->checks_off && section_is_program(s))
		parse_error_at(p, said, "there are no servers to check: this section leads to a program");
	else if (section_may_refuse(s) && s->n_checks == 0 && s->has_pool && !section_is_program(s))
		imply(p, s, said);
}

/* ---- all sections ---- */

/* Is there a line that goes to the port of the server? */
static bool asks_servers_port(const struct section *s)
{
	for (size_t i = 0; i < s->n_checks; i++)
		if (!s->checks[i].port)
			return true;
	return false;
}

static bool has_several_ports(const struct service *service)
{
	return service->n_ports > 1 || (service->n_ports == 1 && service->ports[0].first != service->ports[0].last);
}

static void need_port(struct parser *p, const struct section *s)
{
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct server *server = &s->servers[i];

		if (server->kind == SERVER_HOST && !server->port)
			(server->from == FROM_FILE ? parse_error_at : parse_warning_at)(
			        p, &p->server_places[server->place],
			        "\"%s\" has no port, and its service several: each \"check\" of it needs port=PORT",
			        server->key);
	}
	for (size_t i = 0; i < s->n_sources; i++) {
		const struct source *source = &s->sources[i];

		if (source->kind == SOURCE_EACH && !source->of.port)
			parse_error_at(
			        p, &p->server_places[source->of.place],
			        "\"%s\" has no port, and its service several: each \"check\" of it needs port=PORT",
			        source->of.key);
	}
}

void check_lines_check(struct parser *p)
{
	struct config *c = p->c;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i], *outer = section_outer(c, s);

		/* Servers that are inherited are told of once. */
		if (has_several_ports(&c->services[s->service]) && asks_servers_port(s) &&
		    !(s->servers == outer->servers && asks_servers_port(outer)))
			need_port(p, s);
	}
	/* A program is not checked. The list stays with the section that it is inherited from, for others. */
	for (size_t i = 0; i < c->n_sections; i++) {
		struct section *s = &c->sections[i];

		if (section_is_program(s) && s->checks == section_outer(c, s)->checks)
			s->n_checks = 0;
	}
}

/* ---- on-down ---- */

void set_on_server_down(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	char shown[SHOWN_MAX];

	if (strcmp(args[0].text, "keep") && strcmp(args[0].text, "kill"))
		parse_error(p, args[0].column, "%s is neither keep nor kill", lex_show(args[0].text, shown));
	else
		parse_section(p)->kill_on_server_down = !strcmp(args[0].text, "kill");
}

static void set_hold(struct parser *p, struct word *args, size_t n)
{
	struct wait_rule rule;
	size_t words = 1;
	char shown[SHOWN_MAX];

	while (words < n && strcmp(args[words].text, "then"))
		words++;
	if (!wait_rule_read(p, "on-down hold", args + 1, words - 1, &rule))
		return;
	if (words < n && (words + 2 != n || strcmp(args[words + 1].text, "refuse"))) {
		parse_error(p, args[words].column, "%s: on-down hold TIME [max=N] [then refuse]",
		            lex_show(args[words].text, shown));
		return;
	}
	parse_section(p)->on_down = ON_DOWN_HOLD;
	parse_section(p)->hold = rule;
	parse_section(p)->then_refuse = words < n;
}

void set_on_down(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	const char *word = args[0].text;
	char shown[SHOWN_MAX];

	if (!strcmp(word, "hold")) {
		set_hold(p, args, n);
	} else if (strcmp(word, "reset") && strcmp(word, "try") && strcmp(word, "refuse")) {
		parse_error(p, args[0].column, "%s is neither reset nor try nor refuse nor hold",
		            lex_show(word, shown));
	} else if (n > 1) {
		parse_error(p, args[1].column, "%s is too much: on-down %s", lex_show(args[1].text, shown),
		            d->arguments);
	} else {
		parse_section(p)->on_down = !strcmp(word, "try")      ? ON_DOWN_TRY
		                            : !strcmp(word, "refuse") ? ON_DOWN_REFUSE
		                                                      : ON_DOWN_RESET;
		parse_section(p)->hold = (struct wait_rule){0};
		parse_section(p)->then_refuse = false;
	}
}
