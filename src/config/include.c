/* include.c - where a file's name leads, its text, and `include`. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parser.h"

#define DEPTH_MAX    16
#define INCLUDES_MAX 10000

char *parse_path(struct parser *p, const char *path)
{
	const char *base = p->frame->path;
	const char *slash = base ? strrchr(base, '/') : NULL;

	while (path[0] == '.' && path[1] == '/') {
		path++;
		while (*path == '/')
			path++;
	}
	if (*path == '/' || !slash)
		return mem_strdup(path);
	return mem_printf("%.*s/%s", (int)(slash - base), base, path);
}

void parse_note_file(struct parser *p, const char *path)
{
	p->c->files = mem_resize(p->c->files, p->n_files + 2, sizeof(*p->c->files));
	p->c->files[p->n_files++] = mem_strdup(path);
	p->c->files[p->n_files] = NULL;
}

char *parse_read(struct parser *p, const char *path, uint32_t column)
{
	char shown[SHOWN_MAX];
	const char *why = "there is no way to read files here";
	char *text = NULL;

	if (++p->n_included > INCLUDES_MAX) {
		if (p->n_included == INCLUDES_MAX + 1)
			parse_error(p, column, "more than %d files are included", INCLUDES_MAX);
		return NULL;
	}
	if (p->world && p->world->read_file)
		text = p->world->read_file(p->world->arg, path, &why);
	if (!text) {
		parse_error(p, column, "cannot read %s: %s", lex_show(path, shown), why);
		return NULL;
	}
	parse_note_file(p, path);
	return text;
}

/* Is `path` being read already, or too much of others? */
static bool include_loops(struct parser *p, const char *path, uint32_t column)
{
	char shown[SHOWN_MAX];
	unsigned int depth = 0;

	for (struct frame *f = p->frame; f; f = f->below) {
		if (f->path && !f->origin && !strcmp(f->path, path)) {
			parse_error(p, column, "%s includes itself", lex_show(path, shown));
			return true;
		}
		if (++depth >= DEPTH_MAX) {
			parse_error(p, column, "files are included more than %d deep", DEPTH_MAX);
			return true;
		}
	}
	return false;
}

static void include_file(struct parser *p, const char *path, uint32_t column)
{
	struct frame f = {.name = path, .path = path};
	char *text;

	if (include_loops(p, path, column))
		return;
	text = parse_read(p, path, column);
	if (!text)
		return;
	parse_lines(p, &f, text, p->directive, NULL);
	free(text);
}

/* What the user wrote is a pattern; the directory it starts from is not. */
static char *include_pattern(struct parser *p, const char *word)
{
	struct buf pattern = BUF_INIT;
	char *directory;

	if (*word == '/')
		return mem_strdup(word);
	directory = parse_path(p, "");
	for (const char *s = directory; *s; s++) {
		if (strchr("*?[\\", *s))
			buf_addc(&pattern, '\\');
		buf_addc(&pattern, *s);
	}
	buf_adds(&pattern, word);
	free(directory);
	return buf_detach(&pattern);
}

static void note_pattern(struct parser *p, const char *pattern)
{
	size_t n = 0;

	while (p->c->patterns && p->c->patterns[n])
		n++;
	p->c->patterns = mem_resize(p->c->patterns, n + 2, sizeof(*p->c->patterns));
	p->c->patterns[n] = mem_strdup(pattern);
	p->c->patterns[n + 1] = NULL;
}

static void include_glob(struct parser *p, const struct word *w)
{
	char *pattern, **found;

	if (!p->world || !p->world->glob) {
		parse_error(p, w->column, "there is no way to look for files here");
		return;
	}
	pattern = include_pattern(p, w->text);
	note_pattern(p, pattern);
	found = p->world->glob(p->world->arg, pattern);
	for (size_t i = 0; found && found[i]; i++)
		include_file(p, found[i], w->column);
	words_free(found);
	free(pattern);
}

void set_include(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	char *path;

	if (!*args[0].text) {
		parse_error(p, args[0].column, "\"include\" takes the name of a file, not an empty word");
	} else if (strpbrk(args[0].text, "*?[")) {
		include_glob(p, &args[0]);
	} else {
		path = parse_path(p, args[0].text);
		include_file(p, path, args[0].column);
		free(path);
	}
}
