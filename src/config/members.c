/*
 * members.c - servers whose number changes while it runs: the lines that say where they come from, the lists that bring them, and
 * what a pool is with them.
 *
 * A section keeps the lines that the user wrote; whoever reads the text asks for what each of them has now (struct config_ops), and
 * the servers stand in the pool in the place of the line. Only config_print_packed() writes them down, for processes that have nobody
 * to ask. What is wrong with a member can be no error of the file: it is a warning, and the server, or its name, is left out.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "config/parser.h"

/* ---- servers file:PATH, servers program PROGRAM ---- */

static char *source_line(const char *keyword, const char *prefix, const char *value)
{
	struct buf text = BUF_INIT;

	buf_adds(&text, keyword);
	lex_quote_option(prefix, value, &text);
	return buf_detach(&text);
}

static void set_list(struct parser *p, const char *path, uint32_t column)
{
	struct source s = {.kind = SOURCE_LIST};

	if (!*path) {
		parse_error(p, column, "a path belongs behind file:");
		return;
	}
	s.path = parse_path(p, path);
	s.line = source_line("servers", "file:", s.path);
	parse_note_file(p, s.path);
	source_add(p, &s, column);
}

static void set_program(struct parser *p, struct word *args, size_t n)
{
	struct source s = {.kind = SOURCE_PROGRAM};
	char shown[SHOWN_MAX], *key;

	if (n == 0) {
		parse_error(p, p->line->end, "\"servers program\" needs a program");
		return;
	}
	if (*args[0].text != '/' && *args[0].text != '.') {
		parse_error(p, args[0].column, "%s is no path: a program begins with / or .",
		            lex_show(args[0].text, shown));
		return;
	}
	s.argv = program_argv(p, args, n);
	s.path = mem_strdup(s.argv[0]);
	key = program_key(s.argv);
	s.line = mem_printf("servers program %s", key);
	free(key);
	source_add(p, &s, args[0].column);
}

void set_servers(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	char shown[SHOWN_MAX];

	if (!strcmp(args[0].text, "program"))
		set_program(p, args + 1, n - 1);
	else if (strncmp(args[0].text, "file:", 5) != 0)
		parse_error(p, args[0].column, "%s is no list of servers: write servers %s",
		            lex_show(args[0].text, shown), d->arguments);
	else if (n > 1)
		parse_error(p, args[1].column, "%s is too much: servers file:PATH", lex_show(args[1].text, shown));
	else
		set_list(p, args[0].text + 5, args[0].column);
}

size_t config_servers(const struct config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_sections; i++)
		n += c->sections[i].n_servers + c->sections[i].n_sources;
	return n;
}

bool config_has_sources(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		if (c->sections[i].n_sources > 0)
			return true;
	return false;
}

/* ---- which of them are in the pool already ---- */

#define SEEN_ROOM (4 * POOL_MAX) /* a power of two */

/* Numbers of servers, and one, by the hash of their keys. */
struct seen {
	uint32_t place[SEEN_ROOM];
};

/* True: one with this key has been there before. */
static bool seen_add(struct seen *seen, const struct server *servers, uint32_t number)
{
	const char *key = servers[number].key;
	size_t at = (size_t)hash_bytes(HASH_START, key, strlen(key)) % SEEN_ROOM;

	for (; seen->place[at]; at = (at + 1) % SEEN_ROOM)
		if (strcmp(servers[seen->place[at] - 1].key, key) == 0)
			return true;
	seen->place[at] = number + 1;
	return false;
}

/* ---- a pool with its members ---- */

struct expansion {
	struct parser *p;
	struct seen seen;
	enum server_from from;
	uint32_t source;
};

/* One more in the pool, unless it is there. */
static void put(struct expansion *x, const struct server *server, uint32_t column)
{
	struct section *s = parse_section(x->p);
	size_t n = s->n_servers;

	server_add(x->p, server, column);
	if (s->n_servers == n || !seen_add(&x->seen, s->servers, (uint32_t)n) || server->from == FROM_FILE)
		return;
	called_forget(x->p, s->servers[n].called);
	server_release(&s->servers[n]);
	s->n_servers--;
	x->p->n_servers--;
}

/* source: of a line that stands for many, else NULL. */
static bool is_removed(const struct parser *p, const struct server *server, const struct source *source)
{
	return p->world->removed &&
	       p->world->removed(p->world->arg, p->c, parse_section((struct parser *)p), server, source);
}

static void member(struct parser *p, void *arg)
{
	struct expansion *x = arg;
	struct server s;

	if (!server_read(p, p->line->words, p->line->n, &s))
		return;
	s.from = x->from;
	s.source = x->from == FROM_SOURCE ? x->source : 0;
	if (x->from == FROM_SOURCE && parse_section(p)->sources[x->source].kind == SOURCE_EACH)
		each_complete(&p->c->services[parse_section(p)->service], &s);
	if (!is_removed(p, &s, NULL)) {
		put(x, &s, p->line->words[0].column);
		return;
	}
	called_forget(p, s.called);
	server_release(&s);
}

static void ask(struct expansion *x, const struct source *source)
{
	struct parser *p = x->p;
	struct frame f = {.name = source ? source->line : "tcpproxyctl add", .path = source ? source->path : NULL};
	char *text = p->world->members ? p->world->members(p->world->arg, p->c, parse_section(p), source) : NULL;

	if (!text)
		return;
	if (source && source->path)
		f.name = source->path;
	x->from = source ? FROM_SOURCE : FROM_ADDED;
	p->in_members = true;
	parse_lines(p, &f, text, member, x);
	p->in_members = false;
	free(text);
}

/* Sources that stand before the server of this number in the file. `said`: so many of these are in the pool by now. */
static void ask_sources(struct expansion *x, size_t number, uint32_t said)
{
	struct section *s = parse_section(x->p);

	for (; x->source < s->n_sources && s->sources[x->source].before <= number; x->source++) {
		struct source *source = &s->sources[x->source];

		if (!source->of.key || !is_removed(x->p, &source->of, source))
			ask(x, source);
		source->before = said;
	}
}

static void expand(struct parser *p, struct section *s)
{
	struct expansion *x = mem_alloc(sizeof(*x));
	struct server *said = s->servers;
	size_t n = s->n_servers;
	uint32_t kept = 0;

	x->p = p;
	s->servers = mem_alloc(4 * sizeof(*s->servers));
	s->n_servers = 0;
	p->n_servers -= n;
	for (size_t i = 0; i < n; i++) {
		ask_sources(x, i, kept);
		if (is_removed(p, &said[i], NULL)) {
			called_forget(p, said[i].called);
			server_release(&said[i]);
			continue;
		}
		put(x, &said[i], 0);
		kept++;
	}
	ask_sources(x, SIZE_MAX, kept);
	ask(x, NULL);
	free(said);
	free(x);
}

void members_finish(struct parser *p)
{
	struct section *s = parse_section(p);

	if (p->level == GLOBAL || !p->world || (!p->world->members && !p->world->removed))
		return;
	if (!s->servers || s->servers == section_outer(p->c, s)->servers || section_is_program(s))
		return;
	expand(p, s);
}

/* ---- texts that have the members in them ---- */

bool members_line(struct parser *p)
{
	const char *keyword = p->line->words[0].text;
	bool added = !strcmp(keyword, "added");
	struct server s;

	if (!p->world || !p->world->packed || p->level == GLOBAL)
		return false;
	if (!strcmp(keyword, "pool")) {
		pool_open(p);
		return true;
	}
	if ((!added && strcmp(keyword, "member") != 0) || p->line->n < 2)
		return false;
	if (!server_read(p, p->line->words + 1, p->line->n - 1, &s))
		return true;
	pool_open(p);
	s.from = added ? FROM_ADDED : FROM_SOURCE;
	s.source = added || parse_section(p)->n_sources == 0 ? 0 : (uint32_t)parse_section(p)->n_sources - 1;
	server_add(p, &s, p->line->words[0].column);
	return true;
}

void section_key(const struct config *c, const struct section *s, struct buf *out)
{
	char net[ADDR_TEXT_MAX];

	if (s->opening.kind && !s->called) {
		section_key(c, &c->sections[s->outer], out);
		buf_addf(out, "#%016" PRIx64, config_section_number(c, s));
		return;
	}
	buf_addf(out, "%u", c->services[s->service].number);
	if (s->index == c->services[s->service].root)
		return;
	if (s->called)
		buf_addf(out, "/%s", s->called);
	else
		buf_addf(out, "@%s",
		         s->kind == INTERFACE_NAME ? s->name : cidr_format_zone(&s->net, config_zone(c, s->zone), net));
}

const struct section *config_section(const struct config *c, const char *key)
{
	for (size_t i = 0; i < c->n_sections; i++) {
		struct buf its = BUF_INIT;
		bool found;

		section_key(c, &c->sections[i], &its);
		found = strcmp(its.s, key) == 0;
		buf_release(&its);
		if (found)
			return &c->sections[i];
	}
	return NULL;
}

/* ---- lists ---- */

void pool_list_line(struct parser *p, void *arg)
{
	const struct word *first = &p->line->words[0];
	char shown[SHOWN_MAX];
	struct server s;

	if (p->list_is_none || (!strcmp(first->text, "none") && parse_section(p)->n_servers > 0)) {
		parse_error(p, first->column, "\"none\" says that there are no servers: it stands alone in a list");
		return;
	}
	if (!strcmp(first->text, "none") && p->line->n == 1) {
		p->list_is_none = true;
		return;
	}
	if (*first->text == '/' || *first->text == '.' || !strncmp(first->text, "srv:", 4)) {
		parse_error(p, first->column, "%s is no server of a list: HOST[:PORT] and unix:PATH are",
		            lex_show(first->text, shown));
		return;
	}
	if (server_read(p, p->line->words, p->line->n, &s))
		server_add(p, &s, first->column);
}

void pool_list_end(struct parser *p, const struct frame *f, const char *text)
{
	size_t len = strlen(text);
	struct place at = {.file = f->name, .line = f->line ? f->line : 1, .column = 1};

	pool_open(p);
	if (len == 0 || text[len - 1] != '\n') {
		const char *newline = memrchr(text, '\n', len);

		at.column = (uint32_t)(text + len - (newline ? newline + 1 : text)) + 1;
		parse_error_at(p, &at,
		               len ? "the last line does not end in a newline: is the list whole?"
		                   : "the list is empty: \"none\" alone on a line says that there are no servers");
	} else if (parse_section(p)->n_servers == 0 && !p->list_is_none && p->errors->n == 0) {
		parse_error_at(p, &at, "there is no server: \"none\" alone on a line says that there are none");
	}
}
