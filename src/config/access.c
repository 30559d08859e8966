/* access.c - allow and deny, and their list files. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parser.h"

static void access_add(struct access_list *l, bool allow, const struct cidr *net, uint16_t zone)
{
	if (l->n >= 8 && (l->n & (l->n - 1)) == 0)
		l->rules = mem_resize(l->rules, l->n * 2, sizeof(*l->rules));
	l->rules[l->n++] = (struct access_rule){.allow = allow, .zone = zone, .net = *net};
	l->any_allow |= allow;
}

/* The list of the open section; its first line replaces what was inherited. */
static struct access_list *access_own(struct parser *p)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);

	if (!s->access.rules || (outer && s->access.rules == outer->access.rules))
		s->access = (struct access_list){.rules = mem_alloc(8 * sizeof(*s->access.rules))};
	return &s->access;
}

bool parse_clients(struct parser *p, const struct word *w, struct cidr *ret, uint16_t *zone)
{
	char shown[SHOWN_MAX];

	*ret = (struct cidr){.net = {.family = AF_UNSPEC}};
	*zone = 0;
	if (strcmp(w->text, "all") == 0 || parse_network(p, w->text, ret, zone))
		return true;
	parse_error(p, w->column, "%s is neither an address nor a network (ADDRESS/BITS), nor \"all\"",
	            lex_show(w->text, shown));
	return false;
}

static void network_add(struct parser *p, struct access_list *l, bool allow, const struct word *w)
{
	struct cidr net;
	uint16_t zone;

	if (!parse_clients(p, w, &net, &zone))
		return;
	access_add(l, allow, &net, zone);
}

struct list_reader {
	struct access_list *list;
	bool allow;
};

static void list_line(struct parser *p, void *arg)
{
	struct list_reader *r = arg;
	char shown[SHOWN_MAX];

	if (p->line->n > 1)
		parse_error(p, p->line->words[1].column, "%s is too much: a list has one address or network a line",
		            lex_show(p->line->words[1].text, shown));
	else
		network_add(p, r->list, r->allow, &p->line->words[0]);
}

static void list_add(struct parser *p, struct access_list *l, bool allow, const struct word *w)
{
	struct list_reader reader = {l, allow};
	char *path = parse_path(p, w->text + strlen("file:"));
	struct frame f = {.name = path, .path = path};
	char *text = parse_read(p, path, w->column);

	if (text)
		parse_lines(p, &f, text, list_line, &reader);
	/* An empty list lets no client in, which an empty line could not say. */
	l->any_allow |= allow;
	free(text);
	free(path);
}

void set_access(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct access_list *l = access_own(p);
	bool allow = !strcmp(d->keyword, "allow");

	for (size_t i = 0; i < n; i++) {
		if (!strncmp(args[i].text, "file:", 5))
			list_add(p, l, allow, &args[i]);
		else
			network_add(p, l, allow, &args[i]);
	}
}

void access_finish(struct parser *p)
{
	const struct cidr all = {.net = {.family = AF_UNSPEC}};
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);
	struct access_list *l = &s->access;
	bool any_allow = false;

	if (!l->rules || (outer && l->rules == outer->access.rules))
		return;
	for (size_t i = 0; i < l->n && !any_allow; i++)
		any_allow = l->rules[i].allow;
	if (l->n && any_allow == l->any_allow)
		return;
	access_add(l, !l->any_allow, &all, 0);
	l->any_allow = l->rules[l->n - 1].allow;
}
