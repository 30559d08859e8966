/* calling.c - source and routes: from which address servers are called, and what of the machine's routing that takes. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/parser.h"

#define TABLE_MOST    UINT32_MAX
#define PRIORITY_MOST 32765 /* the table "main" is looked up at 32766 */

/* ---- source ---- */

void set_source(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	bool client = !strcmp(args[0].text, "client"), any = !strcmp(args[0].text, "auto");
	bool port = client && n == 2 && !strcmp(args[1].text, "port");
	char shown[SHOWN_MAX];

	if (n == 2 && !port) {
		parse_error(p, args[1].column, "%s is too much: source %s", lex_show(args[1].text, shown),
		            d->arguments);
		return;
	}
	if (client || any) {
		s->source = (struct addr){.family = AF_UNSPEC};
		s->source_zone = 0;
		s->source_client = port ? SOURCE_CLIENT_PORT : client ? SOURCE_CLIENT : SOURCE_CLIENT_NO;
		return;
	}
	if (parse_address(p, args[0].text, &s->source, &s->source_zone)) {
		s->source_client = SOURCE_CLIENT_NO;
		return;
	}
	parse_error(
	        p, args[0].column,
	        "%s is no address: \"source\" takes an address of this host, without a port; or \"client\": that of "
	        "the client",
	        lex_show(args[0].text, shown));
}

bool source_equal(const struct section *a, const struct section *b)
{
	return a->source.family == b->source.family && a->source_zone == b->source_zone &&
	       a->source_client == b->source_client && addr_same_host(&a->source, &b->source);
}

void source_print(const struct config *c, const struct section *s, struct buf *out)
{
	char text[ADDR_TEXT_MAX];

	if (s->source_client != SOURCE_CLIENT_NO)
		buf_adds(out, s->source_client == SOURCE_CLIENT_PORT ? " client port" : " client");
	else if (s->source.family == AF_UNSPEC)
		buf_adds(out, " auto");
	else
		buf_addf(out, " %s", addr_format_zone(&s->source, config_zone(c, s->source_zone), text));
}

/* A Unix socket has no addresses; told of once where it is inherited. */
void source_check(struct parser *p)
{
	const struct config *c = p->c;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i], *outer = section_outer(c, s);

		if (s->source_client == SOURCE_CLIENT_NO || (outer->source_client && outer->servers == s->servers))
			continue;
		for (size_t k = 0; k < s->n_servers; k++)
			if (s->servers[k].kind == SERVER_UNIX)
				(s->servers[k].from == FROM_FILE ? parse_error_at : parse_warning_at)(
				        p, &p->server_places[s->servers[k].place],
				        "\"source client\" cannot serve \"unix:\" servers: \"source auto\" for them");
	}
}

bool config_calls_as_client(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		if (c->sections[i].source_client != SOURCE_CLIENT_NO && c->sections[i].has_pool)
			return true;
	return false;
}

/* ---- routes ---- */

/* Decimal, or hexadecimal behind 0x, as `ip rule` takes and shows it; above 0. */
static bool read_number(const char *text, uint64_t most, uint32_t *ret)
{
	bool hex = !strncmp(text, "0x", 2);
	const char *digits = hex ? text + 2 : text;
	size_t n = strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789");
	unsigned long long value;

	if (n == 0 || n > 10 || digits[n])
		return false;
	value = strtoull(digits, NULL, hex ? 16 : 10);
	*ret = (uint32_t)value;
	return value > 0 && value <= most;
}

bool mark_read(const char *text, uint32_t *mark, uint32_t *mask)
{
	const char *slash = strchr(text, '/');
	char *digits = mem_strndup(text, slash ? (size_t)(slash - text) : strlen(text));
	uint32_t n = 0, bits = 0;
	bool ok = read_number(digits, UINT32_MAX, &n);

	bits = n;
	if (ok && slash)
		ok = read_number(slash + 1, UINT32_MAX, &bits) && (n & ~bits) == 0;
	free(digits);
	if (ok) {
		*mark = n;
		*mask = bits;
	}
	return ok;
}

static bool read_word(struct parser *p, const struct word *w, struct routes *r)
{
	char shown[SHOWN_MAX];

	if (!strncmp(w->text, "table=", 6)) {
		if (read_number(w->text + 6, TABLE_MOST, &r->table) && (r->table < 253 || r->table > 255))
			return true;
		parse_error(p, w->column,
		            "%s: the number of a routing table is allowed that is none of the system's (253 to 255)",
		            lex_show(w->text, shown));
	} else if (!strncmp(w->text, "mark=", 5)) {
		if (mark_read(w->text + 5, &r->mark, &r->mask))
			return true;
		parse_error(p, w->column,
		            "%s: N or N/MASK is allowed, N above 0 and within MASK, such as mark=0x100000/0x100000",
		            lex_show(w->text, shown));
	} else if (!strncmp(w->text, "priority=", 9)) {
		if (read_number(w->text + 9, PRIORITY_MOST, &r->priority))
			return true;
		parse_error(p, w->column, "%s: a number from 1 to %d is allowed", lex_show(w->text, shown),
		            PRIORITY_MOST);
	} else {
		parse_error(p, w->column, "%s is no word of routes: by=hand, or table=N mark=N/MASK priority=N",
		            lex_show(w->text, shown));
	}
	return false;
}

void set_routes(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct routes r = ROUTES_USUAL;
	bool ok = true;

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(args[i].text, "by=hand"))
			r.by_hand = true;
		else
			ok = read_word(p, &args[i], &r) && ok;
	}
	if (ok)
		p->c->routes = r;
}

void routes_print(const struct routes *r, struct buf *out)
{
	const struct routes usual = ROUTES_USUAL;

	if (r->by_hand)
		buf_adds(out, " by=hand");
	if (r->table != usual.table)
		buf_addf(out, " table=%u", r->table);
	if (r->mark != usual.mark || r->mask != usual.mask)
		buf_addf(out, " mark=0x%x/0x%x", r->mark, r->mask);
	if (r->priority != usual.priority)
		buf_addf(out, " priority=%u", r->priority);
}
