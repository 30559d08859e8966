/* explain.c - which rule would serve a client, and why: looked up, not tried. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmdline.h"
#include "config/lex.h"
#include "os/netlink.h"

static bool has_port(const struct service *service, uint16_t port)
{
	for (size_t i = 0; i < service->n_ports; i++) {
		if (service->ports[i].first <= port && port <= service->ports[i].last)
			return true;
	}
	return false;
}

/* The section for a port of no particular address: the service's own, else the first there is. */
static const struct section *find_section(const struct cmdline *c)
{
	const struct config *config = c->config;
	const struct section *s;
	struct interface_address *ifs;
	size_t n = netlink_addresses(&ifs);

	s = config_find(config, &c->explain_local, ifs, n);
	free(ifs);
	if (s || c->explain_local.family != AF_UNSPEC)
		return s;
	for (size_t i = 0; i < config->n_services; i++) {
		const struct service *service = &config->services[i];

		if (service->n_sections && has_port(service, c->explain_local.port))
			return &config->sections[service->first_section];
	}
	return NULL;
}

static void say_rule(const struct section *s, uint16_t port)
{
	char text[ADDR_TEXT_MAX];

	printf("rule: %s (port %u", s->origin, port);
	if (s->kind == INTERFACE_ADDRESS)
		printf(", interface %s", addr_format(&s->net.net, text));
	else if (s->kind == INTERFACE_NETWORK)
		printf(", interface %s", cidr_format(&s->net, text));
	else if (s->kind == INTERFACE_NAME)
		printf(", interface %s", s->name);
	printf(")\n");
}

static bool say_access(const struct section *s, const struct addr *client)
{
	struct access_verdict v = access_check(&s->access, client);
	char text[ADDR_TEXT_MAX];

	printf("access: %s", v.let_in ? "granted" : "denied");
	if (v.rule && v.rule->net.net.family == AF_UNSPEC)
		printf(" by \"%s all\"", v.rule->allow ? "allow" : "deny");
	else if (v.rule)
		printf(" by \"%s %s\"", v.rule->allow ? "allow" : "deny",
		       cidr_format(&v.rule->net, text));
	else if (!s->access.n)
		printf(": there is no allow or deny here");
	else
		printf(": no rule matches, and %s",
		       v.let_in ? "the list has denials only" : "the list allows others only");
	printf("\n");
	if (v.let_in && s->acp) {
		struct buf words = BUF_INIT;

		for (char **w = s->acp; *w; w++) {
			buf_addc(&words, ' ');
			lex_quote(*w, &words);
		}
		printf("access: then the program%s decides (it was not run)\n", words.s);
		buf_release(&words);
	}
	return v.let_in;
}

static const struct server *first_server(const struct section *s)
{
	for (int backup = 0; backup < 2; backup++) {
		for (size_t i = 0; i < s->n_servers; i++) {
			const struct server *server = &s->servers[i];

			if (!server->disabled && server->backup == backup)
				return server;
		}
	}
	return NULL;
}

static bool say_server(const struct section *s, uint16_t port)
{
	const struct server *server = first_server(s);

	if (!server) {
		printf("server: none: all %zu are disabled\n", s->n_servers);
		return false;
	}
	if (server->kind == SERVER_PROGRAM) {
		printf("server: %s (a program)\n", server->key);
		return true;
	}
	printf("server: %s", server->key);
	if (server->kind == SERVER_HOST && !server->port)
		printf(":%u (the port that the client chose; ", port);
	else
		printf(" (");
	if (s->n_servers == 1)
		printf("the only one)\n");
	else if (server->backup)
		printf("a backup: the others are disabled)\n");
	else
		printf("the first of %zu, which take turns)\n", s->n_servers);
	return true;
}

int cmdline_explain(const struct cmdline *c)
{
	uint16_t port = c->explain_local.port;
	const struct section *s = find_section(c);
	char text[ADDR_TEXT_MAX];

	if (!s) {
		if (c->explain_local.family == AF_UNSPEC)
			printf("rule: none: port %u is not configured\n", port);
		else
			printf("rule: none: nothing is configured for %s\n",
			       addr_format_port(&c->explain_local, text));
		return 1;
	}
	say_rule(s, port);
	if (!say_access(s, &c->explain_client)) {
		printf("server: none: the client is closed before any server hears of it\n");
		return 3;
	}
	return say_server(s, port) ? 0 : 3;
}
