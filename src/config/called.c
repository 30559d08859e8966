/* called.c - "as NAME" at the end of a line: what logs, metrics and tcpproxyctl call a service or a server. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parser.h"

#define SERVICES 0 /* the scope of their names: the whole file */

/* ---- one line ---- */

/* Static text: what is wrong with it; NULL: nothing. */
static const char *name_check(const char *name)
{
	bool letter = false;

	for (const char *s = name; *s; s++) {
		if (!isascii(*s) || (!isalnum((unsigned char)*s) && !strchr("_-.", *s)))
			return "is not a name: letters, digits, '_', '-' and '.' make one";
		letter |= isalpha((unsigned char)*s) != 0;
	}
	if (!letter)
		return "is not a name: it needs a letter";
	if (strlen(name) >= CALLED_SIZE)
		return "is too long for a name: 64 characters at most";
	return NULL;
}

struct word *called_take(struct parser *p, struct word *args, size_t *n)
{
	struct word *name = NULL;
	char shown[SHOWN_MAX];
	size_t as = 1;
	const char *why;

	while (as < *n && strcmp(args[as].text, "as"))
		as++;
	if (as >= *n)
		return NULL;
	if (as + 1 == *n) {
		parse_error(p, p->line->end, "a name is missing after \"as\"");
	} else if (as + 2 < *n) {
		parse_error(p, args[as + 2].column, "%s is one word too many: \"as NAME\" ends the line",
		            lex_show(args[as + 2].text, shown));
	} else if ((why = name_check(args[as + 1].text))) {
		parse_error(p, args[as + 1].column, "%s %s", lex_show(args[as + 1].text, shown), why);
	} else {
		name = &args[as + 1];
	}
	*n = as;
	return name;
}

void called_note(struct parser *p, const struct word *name, const char *called, const char *key)
{
	uint32_t service = p->c->sections[p->section].service;

	GROW(p->given, p->n_given, p->cap_given);
	p->given[p->n_given] = (struct given){
	        .called = called,
	        .key = key,
	        .scope = key ? service + 1 : SERVICES,
	        .section = p->section,
	        .order = p->n_given,
	        .at = place_here(p, name->column),
	        .member = p->in_members,
	};
	p->n_given++;
}

void called_forget(struct parser *p, const char *called)
{
	size_t n = 0;

	for (size_t i = 0; called && i < p->n_given; i++)
		if (p->given[i].called != called)
			p->given[n++] = p->given[i];
	if (called)
		p->n_given = n;
}

/* ---- all of them ---- */

static int compare_names(uint32_t scope, const char *called, const struct given *b)
{
	if (scope != b->scope)
		return scope < b->scope ? -1 : 1;
	return strcmp(called, b->called);
}

static int compare_given(const void *pa, const void *pb)
{
	const struct given *a = pa, *b = pb;
	int d = compare_names(a->scope, a->called, b);

	return d ? d : a->order < b->order ? -1 : a->order > b->order;
}

/* Two sections may lead to the same server: then it has its name in both. */
static bool are_one(const struct given *a, const struct given *b)
{
	return a->key && a->section != b->section && !strcmp(a->key, b->key);
}

/* A member that came later cannot make the file wrong. */
typedef void complain_fn(struct parser *p, const struct place *at, const char *fmt, ...);

static complain_fn *complaint(const struct given *g)
{
	return g->member ? parse_warning_at : parse_error_at;
}

static void said_before(struct parser *p, const struct given *now, const struct given *before)
{
	const char *what = now->key ? "server of this service" : "service";
	complain_fn *complain = complaint(now->member ? now : before);

	if (before->at.command_line)
		complain(p, &now->at, "\"%s\" is the name of another %s already, by %s", now->called, what,
		         before->at.file);
	else
		complain(p, &now->at, "\"%s\" is the name of another %s already; the first is at %s:%u", now->called,
		         what, before->at.file, before->at.line);
}

static void check_unique(struct parser *p)
{
	for (size_t i = 1; i < p->n_given; i++) {
		const struct given *before = &p->given[i - 1], *now = &p->given[i];

		if (compare_names(now->scope, now->called, before) || are_one(before, now))
			continue;
		said_before(p, now, before);
	}
}

static struct given *find(struct parser *p, uint32_t scope, const char *called)
{
	size_t first = 0, last = p->n_given;

	while (first < last) {
		size_t middle = first + (last - first) / 2;
		int d = compare_names(scope, called, &p->given[middle]);

		if (d == 0)
			return &p->given[middle];
		if (d < 0)
			last = middle;
		else
			first = middle + 1;
	}
	return NULL;
}

/* A word that could mean either would mean nothing. */
static void check_ports(struct parser *p)
{
	for (size_t i = 0; p->world && p->world->usual_port && i < p->n_given; i++) {
		struct given *g = &p->given[i];
		const struct service *service = &p->c->services[p->c->sections[g->section].service];
		uint16_t port = p->world->usual_port(p->world->arg, g->called);

		if (!port || !service_has_port(service, port))
			continue;
		g->told = true;
		complaint(g)(p, &g->at,
		             "\"%s\" is what port %u of this service is called anyway (/etc/services): "
		             "a name must differ from it",
		             g->called, port);
	}
}

static void not_a_host(struct parser *p, struct given *g, uint32_t service, bool member)
{
	if (!g || g->told || p->c->sections[g->section].service != service)
		return;
	g->told = true;
	(member ? parse_warning_at : complaint(g))(
	        p, &g->at, "\"%s\" is the host of a server of this service: a name must differ from it", g->called);
}

static void check_hosts(struct parser *p)
{
	for (size_t i = 0; p->n_given && i < p->c->n_sections; i++) {
		const struct section *s = &p->c->sections[i];

		for (size_t k = 0; k < s->n_servers; k++) {
			const char *host = s->servers[k].host;
			bool member = s->servers[k].from != FROM_FILE;

			if (!host)
				continue;
			not_a_host(p, find(p, s->service + 1, host), s->service, member);
			not_a_host(p, find(p, SERVICES, host), s->service, member);
		}
	}
}

void called_check(struct parser *p)
{
	if (p->n_given)
		qsort(p->given, p->n_given, sizeof(*p->given), compare_given);
	check_unique(p);
	check_ports(p);
	check_hosts(p);
}

/* ---- what is called how ---- */

const char *section_called(const struct config *c, const struct section *s)
{
	if (!s->called && s->opening.kind)
		s = &c->sections[s->outer];
	return s->called ? s->called : c->sections[c->services[s->service].root].called;
}

const char *server_label(const struct server *s)
{
	return s->called ? s->called : s->key;
}

void server_describe(const struct server *s, struct buf *out)
{
	if (s->called)
		buf_addf(out, "%s (%s)", s->called, s->key);
	else
		buf_adds(out, s->key);
}

void called_section(struct parser *p, struct word *args, size_t *n)
{
	const struct word *name = called_take(p, args, n);

	if (!name)
		return;
	parse_section(p)->called = mem_strdup(name->text);
	called_note(p, name, parse_section(p)->called, NULL);
}
