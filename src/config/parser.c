/* parser.c - the parser's state: where it is, what was said, what is wrong. */
#include "config/parser.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ERRORS_MAX 1000

static bool error_known(const struct config_errors *e, const char *message)
{
	for (size_t i = 0; i < e->n; i++) {
		if (!e->list[i].file && !strcmp(e->list[i].message, message))
			return true;
	}
	return false;
}

static void error_vadd(struct config_errors *e, const struct place *at, const char *fmt, va_list ap)
{
	struct buf message = BUF_INIT;
	struct config_error *new;

	if (e->n > ERRORS_MAX)
		return;
	if (at->command_line)
		buf_addf(&message, "%s: ", at->file);
	if (e->n == ERRORS_MAX)
		buf_adds(&message, "there are more errors, which are not shown");
	else
		buf_vaddf(&message, fmt, ap);
	/* What is said for several -b is wrong once. */
	if (at->command_line && error_known(e, message.s)) {
		buf_release(&message);
		return;
	}
	e->list = mem_resize(e->list, e->n + 1, sizeof(*e->list));
	new = &e->list[e->n++];
	*new = (struct config_error){.message = buf_detach(&message)};
	if (!at->command_line) {
		new->file = mem_strdup(at->file);
		new->line = at->line;
		new->column = at->column;
	}
}

void parse_error_at(struct parser *p, const struct place *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_vadd(p->errors, at, fmt, ap);
	va_end(ap);
}

void parse_warning_at(struct parser *p, const struct place *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_vadd(&p->c->warnings, at, fmt, ap);
	va_end(ap);
}

struct place place_here(const struct parser *p, uint32_t column)
{
	return (struct place){.file = p->frame->name,
	                      .line = p->frame->line,
	                      .column = column,
	                      .end = p->line ? p->line->end : column,
	                      .command_line = p->frame->origin != NULL};
}

void parse_error(struct parser *p, uint32_t column, const char *fmt, ...)
{
	struct place here = place_here(p, column);
	va_list ap;

	va_start(ap, fmt);
	error_vadd(p->in_members ? &p->c->warnings : p->errors, &here, fmt, ap);
	va_end(ap);
}

struct section *parse_section(struct parser *p)
{
	return p->level == GLOBAL ? &p->c->global : &p->c->sections[p->section];
}

const struct section *section_outer(const struct config *c, const struct section *s)
{
	if (s == &c->global)
		return NULL;
	if (s->opening.kind)
		return &c->sections[s->outer];
	if (s->index == c->services[s->service].root)
		return &c->global;
	return &c->sections[c->services[s->service].root];
}

struct section section_inherit(const struct config *c, const struct section *outer)
{
	struct section s = *outer;

	s.origin = NULL;
	s.name = NULL;
	s.zone = 0;
	s.called = NULL;
	s.kind = INTERFACE_NONE;
	s.net = (struct cidr){.net = {.family = AF_UNSPEC}};
	s.outer = s.n_openings = 0;
	s.opening = (struct opening){0};
	s.own_pool = false;
	/* The limit of the whole program is not that of each service. */
	if (outer == &c->global)
		s.max_connections = 0;
	return s;
}

void *directive_field(struct parser *p, const struct directive *d)
{
	if (directive_is_global(d))
		return (char *)p->c + d->field;
	return (char *)parse_section(p) + d->field;
}

static const char *name_keep(struct parser *p, const char *name)
{
	p->names = mem_resize(p->names, p->n_names + 1, sizeof(*p->names));
	p->names[p->n_names] = mem_strdup(name);
	return p->names[p->n_names++];
}

/* A line was not understood, which may have named a port or a server. */
void parse_puzzled(struct parser *p)
{
	if (p->level == GLOBAL)
		p->puzzled_globally = true;
	else
		p->puzzled[p->section] = true;
}

void parse_lines(struct parser *p, struct frame *f, const char *text, line_fn *each, void *arg)
{
	struct line line = {0}, *outer = p->line;

	f->name = name_keep(p, f->name);
	f->below = p->frame;
	f->line = 0;
	p->frame = f;
	p->line = &line;
	if (!strncmp(text, "\xef\xbb\xbf", 3))
		text += 3;
	while (*text) {
		size_t len = strcspn(text, "\n");
		uint32_t column;
		const char *why;

		f->line++;
		why = lex_line(&line, text, len, &column);
		if (why) {
			parse_error(p, column, "%s", why);
			parse_puzzled(p);
		} else if (line.n) {
			each(p, arg);
		}
		text += len + (text[len] == '\n');
	}
	line_release(&line);
	p->line = outer;
	p->frame = f->below;
}

/* Directives that say a single thing, which would be said twice. */
bool directive_says_one_thing(const struct directive *d)
{
	return d->field != NOTHING;
}

/* Two words may name the same thing: user and uid. */
static struct place *said_of(struct place *said, const struct directive *d)
{
	for (size_t i = 0; i < n_directives; i++) {
		if (directives[i].field == d->field && directive_is_global(&directives[i]) == directive_is_global(d) &&
		    directive_says_one_thing(&directives[i]))
			return &said[i];
	}
	return &said[d - directives];
}

bool parse_said(struct parser *p, const struct directive *d)
{
	struct place *said = said_of(p->level == GLOBAL ? p->global_said : p->said, d);
	struct place here = place_here(p, p->line->words[0].column);

	if (said->file && !here.command_line) {
		if (said->command_line)
			return false;
		parse_error(p, here.column, "\"%s\" is said twice here; the first is at %s:%u", d->keyword, said->file,
		            said->line);
		return false;
	}
	*said = here;
	return true;
}

struct section section_defaults(void)
{
	return (struct section){
	        .acp_timeout_ms = 10 * 1000,
	        .env_prefix = (char *)"PROXY_",
	        .connect_timeout_ms = 10 * 1000,
	        .proxy_timeout_ms = 5 * 1000,
	        .speak_timeout_ms = 3 * 1000,
	        .half_close_timeout_ms = 60 * 60 * 1000,
	        .keepalive_ms = 5 * 60 * 1000,
	};
}
