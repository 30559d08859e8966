/* sections.c - port and interface: what a section is for. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/endpoint.h"
#include "config/parser.h"

#define RANGES_MAX 1000

/* ---- port ---- */

/* FIRST-LAST; the name of a port may have a '-' in it, too. */
static bool range_split(const struct parser *p, char *text, struct port_range *ret)
{
	for (char *dash = strchr(text, '-'); dash; dash = strchr(dash + 1, '-')) {
		bool ok;

		*dash = '\0';
		ok = port_parse(p->world, text, &ret->first) && port_parse(p->world, dash + 1, &ret->last);
		*dash = '-';
		if (ok)
			return true;
	}
	return false;
}

static const char *range_parse(const struct parser *p, char *text, struct port_range *ret)
{
	if (port_parse(p->world, text, &ret->first)) {
		ret->last = ret->first;
		return NULL;
	}
	if (range_split(p, text, ret))
		return ret->first <= ret->last ? NULL : "is a range that runs backwards: write FIRST-LAST";
	if (strchr(text, ','))
		return "is no port: several ports are several words, or several -b";
	if (strchr(text, ':'))
		return "is no port: an address stands in an \"interface\" line behind it";
	if (all_digits(text))
		return "is no port: they go from 1 to 65535";
	return "is no port: write a number from 1 to 65535, a name from /etc/services or "
	       "FIRST-LAST";
}

void set_port(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct service *service = &p->c->services[p->c->n_services - 1];
	char shown[SHOWN_MAX];

	if (!strcmp(args[0].text, "as")) {
		parse_error(p, args[0].column, "a port is missing before \"as\"");
		return;
	}
	called_section(p, args, &n);
	if (n > RANGES_MAX) {
		parse_error(p, args[RANGES_MAX].column, "a \"port\" line takes at most %d ranges", RANGES_MAX);
		return;
	}
	service->ports = mem_alloc(n * sizeof(*service->ports));
	for (size_t i = 0; i < n; i++) {
		struct port_range r;
		const char *why = range_parse(p, args[i].text, &r);

		if (why) {
			parse_error(p, args[i].column, "%s %s", lex_show(args[i].text, shown), why);
			continue;
		}
		for (size_t j = 0; j < service->n_ports; j++) {
			const struct port_range *o = &service->ports[j];

			if (r.first <= o->last && o->first <= r.last) {
				parse_error(p, args[i].column, "%s names a port of this line twice",
				            lex_show(args[i].text, shown));
				break;
			}
		}
		service->ports[service->n_ports++] = r;
	}
}

/* ---- interface ---- */

bool interface_name(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len < 16 && strcmp(text, ".") && strcmp(text, "..") && !strpbrk(text, "/: \t*[]") &&
	       text[strspn(text, "0123456789.")];
}

void set_interface(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	const char *text = args[0].text;
	char shown[SHOWN_MAX];
	const char *why;

	called_section(p, args, &n);
	if (n > 1) {
		parse_error(p, args[1].column, "%s is too much: interface %s", lex_show(args[1].text, shown),
		            d->arguments);
		return;
	}
	if (parse_network(p, text, &s->net, &s->zone)) {
		unsigned int all = s->net.net.family == AF_INET ? 32 : 128;

		s->kind = s->net.bits == all ? INTERFACE_ADDRESS : INTERFACE_NETWORK;
		return;
	}
	if (!strcmp(text, "*") || !strcmp(text, "all"))
		why = "is no address: without \"interface\" a port listens on every address";
	else if (!strcmp(text, "localhost"))
		why = "is no address: write 127.0.0.1 or ::1, or lo for the interface";
	else if (strchr(text, ':') && strchr(text, ':') == strrchr(text, ':'))
		why = "is no address: the port belongs in the \"port\" line above";
	else if (interface_name(text))
		why = NULL;
	else
		why = "is neither an address, a network (ADDRESS/BITS) nor the name of an "
		      "interface";
	if (why) {
		parse_error(p, args[0].column, "%s %s", lex_show(text, shown), why);
		return;
	}
	s->kind = INTERFACE_NAME;
	s->name = mem_strdup(text);
}
