#include "ipc/roster.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "config/lex.h"

static void brought_release(struct brought *b)
{
	free(b->line);
	free(b->lines);
}

static void entry_release(struct entry *e)
{
	free(e->section);
	free(e->server);
	free(e->key);
	free(e->called);
}

void roster_release(struct roster *j)
{
	for (size_t i = 0; i < j->n_brought; i++)
		brought_release(&j->brought[i]);
	for (size_t i = 0; i < j->n_entries; i++)
		entry_release(&j->entries[i]);
	free(j->brought);
	free(j->entries);
	*j = (struct roster){0};
}

/* ---- what sources have brought ---- */

static struct brought *find(const struct roster *j, const char *line)
{
	for (size_t i = 0; i < j->n_brought; i++)
		if (strcmp(j->brought[i].line, line) == 0)
			return &j->brought[i];
	return NULL;
}

const struct brought *roster_brought(const struct roster *j, const char *line)
{
	return find(j, line);
}

bool roster_bring(struct roster *j, const char *line, const char *lines)
{
	struct brought *b = find(j, line);

	if (b && strcmp(b->lines, lines) == 0)
		return false;
	if (!b) {
		j->brought = mem_resize(j->brought, j->n_brought + 1, sizeof(*j->brought));
		b = &j->brought[j->n_brought++];
		*b = (struct brought){.line = mem_strdup(line), .wanted = true};
	}
	free(b->lines);
	b->lines = mem_strdup(lines);
	return true;
}

void roster_forget_brought(struct roster *j)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n_brought; i++)
		if (j->brought[i].wanted)
			j->brought[n++] = j->brought[i];
		else
			brought_release(&j->brought[i]);
	j->n_brought = n;
}

/* ---- what tcpproxyctl has added, and taken out ---- */

struct entry *roster_find(const struct roster *j, const char *section, const char *word)
{
	for (size_t i = 0; i < j->n_entries; i++) {
		struct entry *e = &j->entries[i];

		if (strcmp(e->section, section) == 0 &&
		    (strcmp(e->key, word) == 0 || (e->called && strcmp(e->called, word) == 0)))
			return e;
	}
	return NULL;
}

void roster_add(struct roster *j, bool added, const char *section, const struct server *server)
{
	struct buf text = BUF_INIT;

	server_print(server, &text);
	j->entries = mem_resize(j->entries, j->n_entries + 1, sizeof(*j->entries));
	j->entries[j->n_entries++] = (struct entry){.added = added,
	                                            .section = mem_strdup(section),
	                                            .server = buf_detach(&text),
	                                            .key = mem_strdup(server->key),
	                                            .called = server->called ? mem_strdup(server->called) : NULL,
	                                            .met = true};
}

bool roster_add_line(struct roster *j, const char *section, const char *line)
{
	struct server s;
	struct entry *e;

	if (!source_parse(line, &s))
		return false;
	roster_add(j, false, section, &s);
	server_release(&s);
	e = &j->entries[j->n_entries - 1];
	e->stands = true;
	free(e->server);
	e->server = mem_strdup(line);
	return true;
}

void roster_drop(struct roster *j, struct entry *e)
{
	size_t at = (size_t)(e - j->entries);

	entry_release(e);
	memmove(e, e + 1, (j->n_entries - at - 1) * sizeof(*e));
	j->n_entries--;
}

/* ---- as a text ---- */

static void print_lines(const char *lines, struct buf *out)
{
	while (*lines) {
		size_t len = strcspn(lines, "\n");

		buf_adds(out, "member ");
		buf_add(out, lines, len);
		buf_addc(out, '\n');
		lines += len + (lines[len] == '\n');
	}
}

void roster_print(const struct roster *j, struct buf *out)
{
	for (size_t i = 0; i < j->n_brought; i++) {
		buf_addf(out, "source %s\n", j->brought[i].line);
		print_lines(j->brought[i].lines, out);
	}
	for (size_t i = 0; i < j->n_entries; i++) {
		const struct entry *e = &j->entries[i];

		buf_adds(out, e->added ? "added " : e->stands ? "without " : "removed ");
		lex_quote(e->section, out);
		buf_addf(out, " %s\n", e->server);
	}
}

/* What stands behind the first word, up to the end of the line; NULL: it is another word. */
static char *rest_of(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word);

	if (len <= n + 1 || strncmp(line, word, n) != 0 || line[n] != ' ')
		return NULL;
	return mem_strndup(line + n + 1, len - n - 1);
}

/* A section, and a line of it. */
static void take_without(struct roster *j, const char *text)
{
	const char *why, *line = text + strcspn(text, " ");
	char **words = lex_words(text, &why);

	if (words && words[0] && *line)
		roster_add_line(j, words[0], line + 1);
	words_free(words);
}

/* A section, and a server of it. */
static void take_entry(struct roster *j, bool added, const char *text)
{
	const char *why;
	char **words = lex_words(text, &why);
	struct server s;

	if (words && words[0] && words[1] && server_parse(text + strcspn(text, " "), NULL, &s, NULL)) {
		roster_add(j, added, words[0], &s);
		server_release(&s);
	}
	words_free(words);
}

/* What a source has, read so far. */
struct reading {
	char *line; /* NULL: no source is read */
	struct buf lines;
};

static void end_source(struct roster *j, struct reading *r)
{
	if (r->line)
		roster_bring(j, r->line, r->lines.s ? r->lines.s : "");
	free(r->line);
	r->line = NULL;
	buf_clear(&r->lines);
}

static void take_line(struct roster *j, struct reading *r, const char *text, size_t len)
{
	char *rest;

	if ((rest = rest_of(text, len, "member"))) {
		buf_addf(&r->lines, "%s\n", rest);
		free(rest);
		return;
	}
	end_source(j, r);
	if ((rest = rest_of(text, len, "source"))) {
		r->line = rest;
		return;
	}
	if ((rest = rest_of(text, len, "added")) || (rest = rest_of(text, len, "removed")))
		take_entry(j, *text == 'a', rest);
	else if ((rest = rest_of(text, len, "without")))
		take_without(j, rest);
	free(rest);
}

void roster_parse(const char *text, struct roster *ret)
{
	struct reading r = {NULL, BUF_INIT};

	*ret = (struct roster){0};
	while (*text) {
		size_t len = strcspn(text, "\n");

		take_line(ret, &r, text, len);
		text += len + (text[len] == '\n');
	}
	end_source(ret, &r);
	buf_release(&r.lines);
}
