/*
 * parse.c - texts in, a struct config out: finds the directive of each line in the table (options.def), opens the
 * section that it begins, and hands its arguments to the setter of its type. What the sections say together is checked
 * at the end.
 */
#include "config/parser.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static set_fn *const setters[] = {
#define DIRECTIVE(keyword, where, min, max, type, field, letter, option, arguments, help) set_##type,
#include "config/options.def"
#undef DIRECTIVE
};

/* ---- sections ---- */

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

static void section_close(struct parser *p)
{
	members_finish(p);
	access_finish(p);
	check_lines_finish(p);
	stick_finish(p);
	eject_finish(p);
}

static void service_open(struct parser *p)
{
	struct config *c = p->c;
	struct section *s;

	section_close(p);
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

	section_close(p);
	p->level = INTERFACE;
	section_open(p, &p->c->sections[service->root]);
	service->n_sections++;
}

/* Behind sni or protocol: of the port or the interface that is open. */
static void opening_open(struct parser *p)
{
	struct config *c = p->c;
	const struct section *open = &c->sections[p->section];
	uint32_t outer = open->opening.kind ? open->outer : open->index;
	struct section *s;

	section_close(p);
	p->level = OPENING;
	s = section_open(p, &c->sections[outer]);
	s->outer = outer;
	s->opening.kind = OPENING_SNI; /* until its line is read */
	c->sections[outer].n_openings++;
	c->services[s->service].n_sections++;
}

/* ---- directives ---- */

static const char *level_name(const struct parser *p)
{
	if (p->level == OPENING)
		return p->c->sections[p->section].opening.kind == OPENING_SNI ? "\"sni\"" : "\"protocol\"";
	return p->level == SERVICE ? "\"port\"" : "\"interface\"";
}

static bool is_opening(set_fn *set)
{
	return set == set_sni || set == set_protocol;
}

static bool place_is_right(struct parser *p, const struct directive *d, uint32_t column)
{
	if (d->where & p->level)
		return true;
	if (p->level == GLOBAL)
		parse_error(p, column, "\"%s\" %s behind a \"port\"", d->keyword,
		            is_opening(setters[d - directives]) ? "stands" : "belongs");
	else if (p->level == OPENING && d->where & SERVICE)
		parse_error(
		        p, column,
		        "\"%s\" is too late behind %s: it holds before the client has said a word, and belongs to the "
		        "\"port\" or the \"interface\"",
		        d->keyword, level_name(p));
	else if (d->where & SERVICE)
		parse_error(p, column, "\"%s\" is about the \"port\", and belongs before its %s", d->keyword,
		            level_name(p));
	else if (p->frame->origin)
		parse_error(p, column, "\"%s\" holds for the whole program", d->keyword);
	else
		parse_error(p, column,
		            "\"%s\" holds for the whole program: it belongs before the first "
		            "\"port\", not behind this %s",
		            d->keyword, level_name(p));
	return false;
}

static bool arguments_fit(struct parser *p, const struct directive *d)
{
	char shown[SHOWN_MAX];
	size_t n = p->line->n - 1;

	if (n < d->min) {
		parse_error(p, p->line->end, "\"%s\" needs a value: %s %s", d->keyword, d->keyword, d->arguments);
		return false;
	}
	if (n > d->max) {
		parse_error(p, p->line->words[d->max + 1].column, "%s is too much: %s %s",
		            lex_show(p->line->words[d->max + 1].text, shown), d->keyword, d->arguments);
		return false;
	}
	return true;
}

static void unknown_directive(struct parser *p, const struct word *w)
{
	struct buf text = BUF_INIT;
	char shown[SHOWN_MAX];

	parse_puzzled(p);
	directive_suggest(w->text, &text);
	parse_error(p, w->column, "unknown directive %s%s", lex_show(w->text, shown), text.s ? text.s : "");
	buf_release(&text);
}

static void directive_line(struct parser *p, void *arg)
{
	struct word *words = p->line->words;
	const struct directive *d = directive_find(words[0].text);
	size_t errors = p->errors->n;
	bool was_puzzled;
	set_fn *set;

	if (!d && members_line(p))
		return;
	if (!d) {
		unknown_directive(p, &words[0]);
		return;
	}
	set = setters[d - directives];
	/* A section is opened even if its line is wrong, so that the lines after it are
	 * understood. */
	if (set == set_port)
		service_open(p);
	else if (set == set_interface && p->level != GLOBAL)
		interface_open(p);
	else if (is_opening(set) && p->level != GLOBAL)
		opening_open(p);
	was_puzzled = p->level != GLOBAL && p->puzzled[p->section];
	if (set == set_server || set == set_servers || set == set_exec || set == set_include ||
	    ((set == set_interface || is_opening(set)) && p->level == GLOBAL))
		parse_puzzled(p);
	if (!place_is_right(p, d, words[0].column) || !arguments_fit(p, d))
		return;
	if (directive_says_one_thing(d) && !parse_said(p, d))
		return;
	if (p->level == OPENING && (set == set_server || set == set_servers || set == set_exec))
		opening_check_column(p, d->keyword);
	set(p, d, words + 1, p->line->n - 1);
	if ((set == set_server || set == set_servers || set == set_exec) && p->errors->n == errors)
		p->puzzled[p->section] = was_puzzled;
}

/* ---- the whole ---- */

static struct config *config_new(void)
{
	struct config *c = mem_alloc(sizeof(*c));

	c->standalone = true;
	c->name_ttl_min_ms = NAME_TTL_MIN_MS;
	c->name_ttl_max_ms = NAME_TTL_MAX_MS;
	c->name_hold_ms = NAME_HOLD_MS;
	c->name_keep_ms = NAME_KEEP_MS;
	c->files = mem_alloc(sizeof(*c->files));
	c->routes = (struct routes)ROUTES_USUAL;
	c->global = section_defaults();
	c->global.env_prefix = mem_strdup(c->global.env_prefix);
	return c;
}

/* Just after the last line. */
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
	free(p->given);
	free(p->places);
	free(p->server_places);
	free(p->puzzled);
	free(p->said);
	free(p->global_said);
}

struct config *config_parse_sources(const struct config_source *sources, size_t n, const struct config_ops *world,
                                    struct config_errors *errors)
{
	struct parser p = {
	        .c = config_new(), .world = world, .errors = errors, .directive = directive_line, .level = GLOBAL};

	*errors = (struct config_errors){0};
	p.said = mem_alloc(n_directives * sizeof(*p.said));
	p.global_said = mem_alloc(n_directives * sizeof(*p.global_said));
	for (size_t i = 0; i < n; i++) {
		struct frame f = {.name = sources[i].name, .path = sources[i].path, .origin = sources[i].origin};

		if (!f.origin && f.path)
			parse_note_file(&p, f.path);
		parse_lines(&p, &f, sources[i].text, sources[i].is_list ? pool_list_line : directive_line, NULL);
		if (sources[i].is_list)
			pool_list_end(&p, &f, sources[i].text);
		p.last = place_end(&f, sources[i].text);
	}
	section_close(&p);
	config_check(&p);
	if (world && world->interface_index)
		config_look_at_zones(p.c, world->interface_index, world->arg);
	parser_release(&p);
	if (errors->n == 0)
		return p.c;
	config_free(p.c);
	return NULL;
}

struct config *config_parse(const char *path, const char *text, const struct config_ops *world,
                            struct config_errors *errors)
{
	struct config_source file = {.name = path, .path = path, .text = text};

	return config_parse_sources(&file, 1, world, errors);
}
