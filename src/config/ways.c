/* ways.c - netns=, device= and mptcp of one server: how it is called, if not as its section says. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parser.h"

const char *server_netns(const struct section *s, const struct server *server)
{
	const char *netns = server->netns ? server->netns : s->netns;

	return netns && *netns ? netns : NULL;
}

const char *server_device(const struct section *s, const struct server *server)
{
	const char *device = server->device ? server->device : s->device;

	return device && *device ? device : NULL;
}

static const char *read_server_netns(const char *text, struct server *s)
{
	char *path = strcmp(text, "off") ? netns_path(text) : mem_strdup("");

	if (!path)
		return "is neither netns=NAME of a network namespace (ip netns), nor netns=/PATH, nor netns=off";
	free(s->netns);
	s->netns = path;
	return NULL;
}

static const char *read_server_device(const char *text, struct server *s)
{
	bool off = !strcmp(text, "off");

	if (!off && !interface_name(text))
		return "is neither device=NAME of an interface (ip link), nor device=off";
	free(s->device);
	s->device = mem_strdup(off ? "" : text);
	return NULL;
}

const char *server_way_option(const char *word, struct server *s)
{
	bool netns = !strncmp(word, "netns=", 6), device = !strncmp(word, "device=", 7);

	if (!netns && !device && strcmp(word, "mptcp"))
		return "";
	if (s->kind == SERVER_UNIX || s->kind == SERVER_PROGRAM)
		return "says how a server is called over the network: this one is a socket of this machine";
	if (netns)
		return read_server_netns(word + 6, s);
	if (device)
		return read_server_device(word + 7, s);
	s->mptcp = true;
	return NULL;
}

void server_way_print(const struct server *s, struct buf *out)
{
	if (s->netns)
		lex_quote_option("netns=", *s->netns ? netns_word(s->netns) : "off", out);
	if (s->device)
		lex_quote_option("device=", *s->device ? s->device : "off", out);
	if (s->mptcp)
		buf_adds(out, " mptcp");
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* Told apart by nothing but the way there, records and checks could not tell them apart. */
static void check_twins(struct parser *p, const struct section *s, size_t i)
{
	const struct server *a = &s->servers[i];

	for (size_t k = 0; k < s->n_servers && (a->netns || a->device); k++) {
		const struct server *b = &s->servers[k];

		if (k == i || a->from != FROM_FILE || b->from != FROM_FILE || strcmp(a->key, b->key) ||
		    !same_text(a->called, b->called) ||
		    (same_text(a->netns, b->netns) && same_text(a->device, b->device)))
			continue;
		parse_error_at(p, &p->server_places[a->place],
		               "%s stands here twice, reached in two ways: give each a name (as NAME)", a->key);
		return;
	}
}

/* Sockets that others make for us are of TCP. */
static void check_mptcp(struct parser *p, const struct section *s, const struct server *server)
{
	if (server->mptcp && (s->mark || s->source_client || server_netns(s, server)))
		parse_error_at(p, &p->server_places[server->place],
		               "\"mptcp\" cannot be had beside mark, netns or source client");
}

void server_ways_check(struct parser *p)
{
	for (size_t i = 0; i < p->c->n_sections; i++) {
		const struct section *s = &p->c->sections[i];

		for (size_t k = 0; k < s->n_servers; k++) {
			check_twins(p, s, k);
			check_mptcp(p, s, &s->servers[k]);
		}
	}
}

static bool enters_netns(const struct section *s)
{
	for (size_t i = 0; i < s->n_servers; i++)
		if (server_netns(s, &s->servers[i]))
			return true;
	return s->netns && s->has_pool;
}

bool config_enters_netns(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		if (enters_netns(&c->sections[i]))
			return true;
	return config_listens_in_netns(c);
}
