/* packets.c - dscp, mark, device and netns: what the packets of a connection carry, and where they go. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/parser.h"

/* ---- dscp ---- */

/* Names of RFC 2474 (cs), RFC 2597 (af), RFC 3246 (ef), RFC 5865 (va), RFC 8622 (le). */
static const struct dscp_name {
	const char *name;
	uint8_t value;
} names[] = {
        {"cs0", 0},   {"le", 1},    {"cs1", 8},  {"af11", 10}, {"af12", 12}, {"af13", 14}, {"cs2", 16}, {"af21", 18},
        {"af22", 20}, {"af23", 22}, {"cs3", 24}, {"af31", 26}, {"af32", 28}, {"af33", 30}, {"cs4", 32}, {"af41", 34},
        {"af42", 36}, {"af43", 38}, {"cs5", 40}, {"va", 44},   {"ef", 46},   {"cs6", 48},  {"cs7", 56},
};

static bool read_dscp(struct parser *p, const struct word *w, uint8_t *ret)
{
	char shown[SHOWN_MAX];
	uint64_t n;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(names[i].name, w->text)) {
			*ret = names[i].value + 1;
			return true;
		}
	if (text_parse_uint(w->text, 63, &n)) {
		*ret = (uint8_t)(n + 1);
		return true;
	}
	parse_error(p, w->column,
	            "%s: a number from 0 to 63 is allowed, or a name: cs0 to cs7, af11 to af43, ef, va, le",
	            lex_show(w->text, shown));
	return false;
}

void set_dscp(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct dscp_rule rule = {0};

	if (n == 1 && !strcmp(args[0].text, "off")) {
		parse_section(p)->dscp = rule;
		return;
	}
	if (read_dscp(p, &args[0], &rule.server) && (n == 1 || read_dscp(p, &args[1], &rule.client)))
		parse_section(p)->dscp = rule;
}

static void add_dscp(uint8_t value, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].value + 1 == value) {
			buf_addf(out, " %s", names[i].name);
			return;
		}
	buf_addf(out, " %u", value - 1u);
}

void dscp_print(const struct dscp_rule *r, struct buf *out)
{
	if (!r->server)
		buf_adds(out, " off");
	else
		add_dscp(r->server, out);
	if (r->client)
		add_dscp(r->client, out);
}

/* ---- mark ---- */

void set_mark(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	char shown[SHOWN_MAX];
	uint32_t mask;

	if (!strcmp(args[0].text, "off"))
		s->mark = 0;
	else if (!mark_read(args[0].text, &s->mark, &mask))
		parse_error(p, args[0].column,
		            "%s: off, N or N/MASK is allowed, N above 0 and within MASK, such as mark 0x10/0xf0",
		            lex_show(args[0].text, shown));
}

bool config_marks(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		if (c->sections[i].mark && c->sections[i].has_pool)
			return true;
	return false;
}

/* ---- device ---- */

void set_device(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);
	bool off = !strcmp(args[0].text, "off");
	char shown[SHOWN_MAX];

	if (!off && !interface_name(args[0].text)) {
		parse_error(p, args[0].column, "%s is no name of an interface (ip link), nor \"off\"",
		            lex_show(args[0].text, shown));
		return;
	}
	if (!outer || s->device != outer->device)
		free(s->device);
	s->device = off ? NULL : mem_strdup(args[0].text);
}

/* ---- netns ---- */

void set_netns(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);
	bool off = !strcmp(args[0].text, "off");
	char shown[SHOWN_MAX], *path = off ? NULL : netns_path(args[0].text);

	if (!path && !off) {
		parse_error(p, args[0].column,
		            "%s is neither the name of a network namespace (ip netns), nor a path that begins with /, "
		            "nor \"off\"",
		            lex_show(args[0].text, shown));
		return;
	}
	if (!outer || s->netns != outer->netns)
		free(s->netns);
	s->netns = path;
}
