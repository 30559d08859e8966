#include "config/parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ERRORS_MAX 1000

static set_fn *const setters[] = {
#define DIRECTIVE(keyword, where, min, max, type, field, letter, option, arguments, help)          \
	set_##type,
#include "config/options.def"
#undef DIRECTIVE
};

/* ---- errors ---- */

static bool error_known(const struct config_errors *e, const char *message)
{
	for (size_t i = 0; i < e->n; i++) {
		if (!e->list[i].file && !strcmp(e->list[i].message, message))
			return true;
	}
	return false;
}

static void error_vadd(struct parser *p, const struct place *at, const char *fmt, va_list ap)
{
	struct config_errors *e = p->errors;
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
	error_vadd(p, at, fmt, ap);
	va_end(ap);
}

static struct place place_here(const struct parser *p, uint32_t column)
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
	error_vadd(p, &here, fmt, ap);
	va_end(ap);
}

/* ---- sections ---- */

struct section *parse_section(struct parser *p)
{
	return p->level == GLOBAL ? &p->c->global : &p->c->sections[p->section];
}

const struct section *section_outer(const struct config *c, const struct section *s)
{
	if (s == &c->global)
		return NULL;
	if (s->index == c->services[s->service].root)
		return &c->global;
	return &c->sections[c->services[s->service].root];
}

struct section section_inherit(const struct config *c, const struct section *outer)
{
	struct section s = *outer;

	s.origin = NULL;
	s.name = NULL;
	/* The limit of the whole program is not that of each service. */
	if (outer == &c->global)
		s.max_connections = 0;
	return s;
}

static char *origin_here(const struct parser *p)
{
	if (p->frame->origin)
		return mem_strdup(p->frame->origin);
	return mem_printf("%s:%u", p->frame->name, p->frame->line);
}

static struct section *section_open(struct parser *p, const struct section *outer)
{
	struct config *c = p->c;
	struct section s = section_inherit(c, outer);

	s.index = (uint32_t)c->n_sections;
	s.origin = origin_here(p);
	GROW(c->sections, c->n_sections, p->cap_sections);
	GROW(p->places, c->n_sections, p->cap_places);
	p->places[c->n_sections] = place_here(p, p->line->words[0].column);
	GROW(p->puzzled, c->n_sections, p->cap_puzzled);
	p->puzzled[c->n_sections] = false;
	p->section = c->n_sections++;
	c->sections[p->section] = s;
	memset(p->said, 0, n_directives * sizeof(*p->said));
	return &c->sections[p->section];
}

static void service_open(struct parser *p)
{
	struct config *c = p->c;
	struct section *s;

	access_finish(p);
	p->level = SERVICE;
	s = section_open(p, &c->global);
	GROW(c->services, c->n_services, p->cap_services);
	s->service = (uint32_t)c->n_services;
	c->services[c->n_services] = (struct service){
	    .index = (uint32_t)c->n_services,
	    .root = s->index,
	    .first_section = s->index + 1,
	};
	c->n_services++;
}

static void interface_open(struct parser *p)
{
	struct service *service = &p->c->services[p->c->n_services - 1];

	access_finish(p);
	p->level = INTERFACE;
	section_open(p, &p->c->sections[service->root]);
	service->n_sections++;
}

void *directive_field(struct parser *p, const struct directive *d)
{
	if (directive_is_global(d))
		return (char *)p->c + d->field;
	return (char *)parse_section(p) + d->field;
}

/* ---- lines ---- */

static const char *name_keep(struct parser *p, const char *name)
{
	p->names = mem_resize(p->names, p->n_names + 1, sizeof(*p->names));
	p->names[p->n_names] = mem_strdup(name);
	return p->names[p->n_names++];
}

/* A line was not understood, which may have named a port or a server. */
static void puzzled(struct parser *p)
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
			puzzled(p);
		} else if (line.n) {
			each(p, arg);
		}
		text += len + (text[len] == '\n');
	}
	line_release(&line);
	p->line = outer;
	p->frame = f->below;
}

/* ---- directives ---- */

static const char *level_name(enum level level)
{
	return level == SERVICE ? "\"port\"" : "\"interface\"";
}

static bool place_is_right(struct parser *p, const struct directive *d, uint32_t column)
{
	if (d->where & p->level)
		return true;
	if (p->level == GLOBAL)
		parse_error(p, column, "\"%s\" belongs behind a \"port\"", d->keyword);
	else if (p->frame->origin)
		parse_error(p, column, "\"%s\" holds for the whole program", d->keyword);
	else
		parse_error(p, column,
		            "\"%s\" holds for the whole program: it belongs before the first "
		            "\"port\", not behind this %s",
		            d->keyword, level_name(p->level));
	return false;
}

static bool arguments_fit(struct parser *p, const struct directive *d)
{
	char shown[SHOWN_MAX];
	size_t n = p->line->n - 1;

	if (n < d->min) {
		parse_error(p, p->line->end, "\"%s\" needs a value: %s %s", d->keyword, d->keyword,
		            d->arguments);
		return false;
	}
	if (n > d->max) {
		parse_error(p, p->line->words[d->max + 1].column, "%s is too much: %s %s",
		            lex_show(p->line->words[d->max + 1].text, shown), d->keyword,
		            d->arguments);
		return false;
	}
	return true;
}

/* Directives that say a single thing, which would be said twice. */
static bool says_one_thing(const struct directive *d)
{
	return d->field != NOTHING;
}

/* Two words may name the same thing: user and uid. */
static struct place *said_of(struct place *said, const struct directive *d)
{
	for (size_t i = 0; i < n_directives; i++) {
		if (directives[i].field == d->field &&
		    directive_is_global(&directives[i]) == directive_is_global(d) &&
		    says_one_thing(&directives[i]))
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
		parse_error(p, here.column, "\"%s\" is said twice here; the first is at %s:%u",
		            d->keyword, said->file, said->line);
		return false;
	}
	*said = here;
	return true;
}

static void unknown_directive(struct parser *p, const struct word *w)
{
	struct buf text = BUF_INIT;
	char shown[SHOWN_MAX];

	puzzled(p);
	directive_suggest(w->text, &text);
	parse_error(p, w->column, "unknown directive %s%s", lex_show(w->text, shown),
	            text.s ? text.s : "");
	buf_release(&text);
}

static void directive_line(struct parser *p, void *arg)
{
	struct word *words = p->line->words;
	const struct directive *d = directive_find(words[0].text);
	set_fn *set;

	if (!d) {
		unknown_directive(p, &words[0]);
		return;
	}
	set = setters[d - directives];
	/* A section is opened even if its line is wrong, so that the lines behind it are
	 * understood. */
	if (set == set_port)
		service_open(p);
	else if (set == set_interface && p->level != GLOBAL)
		interface_open(p);
	if (set == set_server || set == set_exec || set == set_include ||
	    (set == set_interface && p->level == GLOBAL))
		puzzled(p);
	if (!place_is_right(p, d, words[0].column) || !arguments_fit(p, d))
		return;
	if (says_one_thing(d) && !parse_said(p, d))
		return;
	set(p, d, words + 1, p->line->n - 1);
}

void parse_directives(struct parser *p, struct frame *f, const char *text)
{
	parse_lines(p, f, text, directive_line, NULL);
}

/* ---- the whole ---- */

struct section section_defaults(void)
{
	return (struct section){
	    .acp_timeout_ms = 10 * 1000,
	    .env_prefix = (char *)"PROXY_",
	    .connect_timeout_ms = 10 * 1000,
	    .half_close_timeout_ms = 60 * 60 * 1000,
	    .keepalive_ms = 5 * 60 * 1000,
	};
}

static struct config *config_new(void)
{
	struct config *c = mem_alloc(sizeof(*c));

	c->standalone = true;
	c->files = mem_alloc(sizeof(*c->files));
	c->global = section_defaults();
	c->global.env_prefix = mem_strdup(c->global.env_prefix);
	return c;
}

/* Just behind the last line. */
static struct place place_end(const struct frame *f, const char *text)
{
	size_t len = strlen(text);
	const char *start;

	if (len && text[len - 1] == '\n')
		len--;
	start = memrchr(text, '\n', len);
	start = start ? start + 1 : text;
	return (struct place){.file = f->name,
	                      .line = f->line ? f->line : 1,
	                      .column = (uint32_t)(text + len - start) + 1,
	                      .command_line = f->origin != NULL};
}

static void parser_release(struct parser *p)
{
	for (size_t i = 0; i < p->n_names; i++)
		free(p->names[i]);
	free(p->names);
	free(p->places);
	free(p->puzzled);
	free(p->said);
	free(p->global_said);
}

struct config *config_parse_sources(const struct config_source *sources, size_t n,
                                    const struct config_world *world, struct config_errors *errors)
{
	struct parser p = {.c = config_new(), .world = world, .errors = errors, .level = GLOBAL};

	*errors = (struct config_errors){0};
	p.said = mem_alloc(n_directives * sizeof(*p.said));
	p.global_said = mem_alloc(n_directives * sizeof(*p.global_said));
	for (size_t i = 0; i < n; i++) {
		struct frame f = {
		    .name = sources[i].name, .path = sources[i].path, .origin = sources[i].origin};

		if (!f.origin && f.path)
			parse_note_file(&p, f.path);
		parse_directives(&p, &f, sources[i].text);
		p.last = place_end(&f, sources[i].text);
	}
	access_finish(&p);
	config_check(&p);
	parser_release(&p);
	if (errors->n == 0)
		return p.c;
	config_free(p.c);
	return NULL;
}

struct config *config_parse(const char *path, const char *text, const struct config_world *world,
                            struct config_errors *errors)
{
	struct config_source file = {.name = path, .path = path, .text = text};

	return config_parse_sources(&file, 1, world, errors);
}
