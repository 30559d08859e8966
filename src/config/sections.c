/* sections.c - interface: what a section is for. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parser.h"

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
	if (p->c->services[s->service].listen != LISTEN_PORTS) {
		parse_error(p, p->line->words[0].column,
		            "an \"interface\" is an address of this host, and who comes by \"port %s\" comes to none",
		            p->c->services[s->service].listen == LISTEN_UNIX ? "unix:" : "fd:");
		return;
	}
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
