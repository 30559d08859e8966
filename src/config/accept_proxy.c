/* accept_proxy.c - accept-proxy: from whom a header of the PROXY protocol is expected. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parser.h"

void accept_proxy_free(struct accept_proxy *a)
{
	if (a)
		free(a->from.rules);
	free(a);
}

bool accept_proxy_expects(const struct accept_proxy *a, const struct addr *peer)
{
	bool ip = peer->family == AF_INET || peer->family == AF_INET6;

	/* a client without an address is one of this machine, and the port is there for it alone */
	return a && (a->from.n == 0 || !ip || access_check(&a->from, peer).let_in);
}

/* ---- reading ---- */

static void add_network(struct parser *p, struct accept_proxy *a, const struct word *w)
{
	struct cidr net;
	uint16_t zone;

	if (!parse_clients(p, w, &net, &zone))
		return;
	a->all |= net.net.family == AF_UNSPEC;
	a->from.rules = mem_resize(a->from.rules, a->from.n + 1, sizeof(*a->from.rules));
	a->from.rules[a->from.n++] = (struct access_rule){.allow = true, .zone = zone, .net = net};
	a->from.any_allow = true;
}

/* "optional" stands last. */
static bool take_optional(struct word *args, size_t *n)
{
	if (*n == 0 || strcmp(args[*n - 1].text, "optional"))
		return false;
	(*n)--;
	return true;
}

static void read_from(struct parser *p, struct accept_proxy *a, struct word *args, size_t n)
{
	char shown[SHOWN_MAX];

	if (n > 0 && strcmp(args[0].text, "from")) {
		parse_error(p, args[0].column,
		            "%s is no word of accept-proxy: accept-proxy [from CIDR|ADDRESS|all...] [optional], or off",
		            lex_show(args[0].text, shown));
		return;
	}
	if (n == 1)
		parse_error(p, args[0].column + 4, "\"from\" needs addresses or networks, or \"all\"");
	for (size_t i = 1; i < n; i++)
		add_network(p, a, &args[i]);
}

/* Said in the open section; NULL: off. */
static void put(struct parser *p, struct accept_proxy *new)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);

	if (!outer || s->accept_proxy != outer->accept_proxy) /* the command line may have said it before */
		accept_proxy_free(s->accept_proxy);
	s->accept_proxy = new;
}

void set_accept_proxy(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct place at = place_here(p, p->line->words[0].column);
	size_t errors = p->errors->n, optional_at = n - 1;
	struct accept_proxy *new;

	if (n == 1 && !strcmp(args[0].text, "off")) {
		put(p, NULL);
		return;
	}
	new = mem_alloc(sizeof(*new));
	new->optional = take_optional(args, &n);
	read_from(p, new, args, n);
	if (p->errors->n == errors && new->optional && (new->from.n == 0 || new->all))
		parse_error(p, args[optional_at].column,
		            "\"optional\" needs \"from\" with addresses that may come without a header");
	if (p->errors->n != errors) {
		accept_proxy_free(new);
		return;
	}
	if (new->from.n == 0)
		parse_warning_at(p, &at,
		                 "accept-proxy without \"from\": whoever reaches this port can say that he is anybody");
	put(p, new);
}

/* ---- what it comes to ---- */

void accept_proxy_print(const struct config *c, const struct accept_proxy *a, struct buf *out)
{
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < a->from.n; i++) {
		const struct access_rule *r = &a->from.rules[i];
		bool all = r->net.net.family == AF_UNSPEC;

		buf_addf(out, "%s %s", i ? "" : " from",
		         all ? "all" : cidr_format_zone(&r->net, config_zone(c, r->zone), text));
	}
	if (a->optional)
		buf_adds(out, " optional");
}
