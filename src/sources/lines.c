#include "sources/lines.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "config/config.h"

#define FROM_LONG 200 /* as much of a key is shown */
#define LOOKS     4   /* what is left when something is wrong may be wrong again; more often is none of our faults */

/* ---- one line ---- */

static uint16_t port_of_name(void *arg, const char *name)
{
	struct servent *s = getservbyname(name, "tcp");

	return s ? ntohs((uint16_t)s->s_port) : 0;
}

static bool is_text(const char *line)
{
	for (const char *s = line; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return false;
	}
	return true;
}

/* By the parser of the configuration, so that what is printed is what tcpproxy will take. */
static const struct config_ops world = {.service_port = port_of_name};

bool line_is_server(const char *line, struct buf *why)
{
	struct server server;

	buf_clear(why);
	if (!*line || strlen(line) > LINE_LONG)
		buf_adds(why, *line ? "it is too long" : "there is nothing in it");
	else if (!is_text(line))
		buf_adds(why, "there is a control character in it");
	else if (server_parse(line, &world, &server, why))
		server_release(&server);
	return why->len == 0;
}

/* ---- the list ---- */

void lines_refuse(struct lines *l, const char *from, const char *why)
{
	char *shown = mem_strndup(from, strnlen(from, FROM_LONG));

	utf8_clean_line(shown, strlen(shown));
	l->found++;
	buf_addf(&l->refused, "%s: %s\n", shown, why);
	free(shown);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void lines_add(struct lines *l, const char *text, size_t len, const char *from)
{
	struct buf why = BUF_INIT;
	char *line;

	while (len && is_blank(text[len - 1]))
		len--;
	while (len && is_blank(*text))
		text++, len--;
	line = mem_strndup(text, len);
	if (strlen(line) != len) {
		lines_refuse(l, from, "there is a NUL in it");
	} else if (!line_is_server(line, &why)) {
		lines_refuse(l, from, why.s);
	} else {
		if (l->n == l->cap) {
			l->cap = l->cap ? l->cap * 2 : 64;
			l->list = mem_resize(l->list, l->cap, sizeof(*l->list));
		}
		l->list[l->n++] = line;
		l->found++;
		line = NULL;
	}
	free(line);
	buf_release(&why);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Lines that are servers may be no pool together: two have one name. The errors are in the order of the lines. */
static void drop_wrong(struct lines *l, const struct config_errors *errors)
{
	size_t kept = 0, e = 0;

	for (size_t i = 0; i < l->n; i++) {
		while (e < errors->n && errors->list[e].line < i + 1)
			e++;
		if (e < errors->n && errors->list[e].line == i + 1) {
			buf_addf(&l->refused, "%s: %s\n", l->list[i], errors->list[e].message);
			free(l->list[i]);
		} else {
			l->list[kept++] = l->list[i];
		}
	}
	l->n = kept;
}

/* False: something was left out, and it is to be looked at once more. */
static bool is_pool(struct lines *l)
{
	struct config_errors errors = {NULL, 0};
	struct buf text = BUF_INIT;
	char *pool;
	bool ok;

	lines_print(l, &text);
	pool = list_parse("", text.s, &world, &errors);
	drop_wrong(l, &errors);
	config_errors_release(&errors);
	buf_release(&text);
	ok = pool;
	free(pool);
	return ok;
}

void lines_finish(struct lines *l)
{
	size_t kept = 0, more;

	if (l->n)
		qsort(l->list, l->n, sizeof(*l->list), by_text);
	for (size_t i = 0; i < l->n; i++) {
		if (kept && strcmp(l->list[kept - 1], l->list[i]) == 0)
			free(l->list[i]);
		else
			l->list[kept++] = l->list[i];
	}
	more = kept > LINES_MAX ? kept - LINES_MAX : 0;
	if (more)
		buf_addf(&l->refused, "%zu of %zu servers: a pool has at most %d\n", more, kept, LINES_MAX);
	for (; kept > LINES_MAX; kept--)
		free(l->list[kept - 1]);
	l->n = kept;
	for (int i = 0; i < LOOKS && !is_pool(l);)
		i++;
}

void lines_print(const struct lines *l, struct buf *out)
{
	for (size_t i = 0; i < l->n; i++) {
		buf_adds(out, l->list[i]);
		buf_addc(out, '\n');
	}
	if (l->n == 0)
		buf_adds(out, "none\n");
}

void lines_release(struct lines *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->list[i]);
	free(l->list);
	buf_release(&l->refused);
	*l = (struct lines){0};
}
