#include "config/explain.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/endpoint.h"
#include "config/lex.h"

/* The one that is so spelt, if that is a socket. */
static const struct section *find_at(const struct config *config, const struct explain *q)
{
	for (size_t i = 0; i < config->n_services; i++) {
		const struct service *service = &config->services[i];
		struct buf ports = BUF_INIT;
		bool same;

		service_ports(service, &ports);
		same = service->listen != LISTEN_PORTS && !strcmp(ports.s, q->at);
		buf_release(&ports);
		if (same)
			return &config->sections[service->root];
	}
	return NULL;
}

/* That of a service which would catch it on its way there. */
static const struct section *find_catcher(const struct config *config, const struct explain *q)
{
	for (size_t i = 0; i < config->n_services; i++) {
		const struct service *service = &config->services[i];
		struct addr there = q->local;

		there.scope = service->place;
		if (service->intercept && service_intercepts(service, &q->client, q->local.port))
			return config_find(config, &there, q->ifs, q->n_ifs);
	}
	return NULL;
}

/* The section for a port of no particular address: the service's own, else the first there is. */
static const struct section *find_section(const struct config *config, const struct explain *q)
{
	const struct section *s = q->at ? find_at(config, q) : config_find(config, &q->local, q->ifs, q->n_ifs);

	if (!s && !q->at)
		s = find_catcher(config, q);
	if (s || q->at || q->local.family != AF_UNSPEC)
		return s;
	for (size_t i = 0; i < config->n_services; i++) {
		const struct service *service = &config->services[i];

		if (service->n_sections && service_has_port(service, q->local.port))
			return &config->sections[service->first_section];
	}
	return NULL;
}

static void say_rule(const struct config *c, const struct section *s, uint16_t port, struct buf *out)
{
	const struct service *service = &c->services[s->service];
	const char *called = section_called(c, s);
	char text[ADDR_TEXT_MAX];

	buf_addf(out, "rule: %s (", s->origin);
	if (called)
		buf_addf(out, "service %s, ", called);
	buf_adds(out, "port ");
	if (service->listen == LISTEN_PORTS)
		buf_addf(out, "%u", port);
	else
		service_ports(service, out);
	if (service->intercept)
		buf_addf(out, ", caught by port %u (%s)", service_first_port(service),
		         intercept_name(service->intercept));
	if (s->kind == INTERFACE_NAME)
		buf_addf(out, ", interface %s", s->name);
	else if (s->kind != INTERFACE_NONE)
		buf_addf(out, ", interface %s", cidr_format_zone(&s->net, config_zone(c, s->zone), text));
	buf_adds(out, ")\n");
}

static bool say_access(const struct config *c, const struct section *s, const struct addr *client, struct buf *out)
{
	struct access_verdict v = access_check(&s->access, client);
	char text[ADDR_TEXT_MAX];

	buf_addf(out, "access: %s", v.let_in ? "granted" : "denied");
	if (v.rule && v.rule->net.net.family == AF_UNSPEC)
		buf_addf(out, " by \"%s all\"", v.rule->allow ? "allow" : "deny");
	else if (v.rule)
		buf_addf(out, " by \"%s %s\"", v.rule->allow ? "allow" : "deny",
		         cidr_format_zone(&v.rule->net, config_zone(c, v.rule->zone), text));
	else if (!s->access.n)
		buf_adds(out, ": there is no allow or deny here");
	else
		buf_addf(out, ": no rule matches, and %s",
		         v.let_in ? "the list has denials only" : "the list allows others only");
	buf_adds(out, "\n");
	if (v.let_in && s->acp) {
		struct buf words = BUF_INIT;

		for (char **w = s->acp; *w; w++) {
			buf_addc(&words, ' ');
			lex_quote(*w, &words);
		}
		buf_addf(out, "access: then the program%s decides (it was not run)\n", words.s);
		buf_release(&words);
	}
	return v.let_in;
}

static void say_closed(const struct config *c, const struct section *s, const struct explain *q, const char *why,
                       struct buf *out)
{
	const char *called = section_called(c, s);

	if (called)
		buf_addf(out, "access: denied: service %s %s\n", called, why);
	else if (q->at)
		buf_addf(out, "access: denied: service %s %s\n", q->at, why);
	else
		buf_addf(out, "access: denied: service %u %s\n", q->local.port, why);
}

static const struct server *first_server(const struct section *s)
{
	for (int backup = 0; backup < 2; backup++)
		for (size_t i = 0; i < s->n_servers; i++)
			if (!s->servers[i].disabled && s->servers[i].backup == backup)
				return &s->servers[i];
	return NULL;
}

void explain_server(const struct server *server, const struct explain *q, struct buf *out)
{
	char text[ADDR_TEXT_MAX];

	if (server->kind == SERVER_PROGRAM) {
		buf_addf(out, "%s (a program)", server->key);
		return;
	}
	if (server->called)
		buf_addf(out, "%s, ", server->called);
	buf_adds(out, server->key);
	if (server->kind == SERVER_ORIGINAL && q->local.family == AF_UNSPEC)
		buf_adds(out, " (where the client wants to go)");
	else if (server->kind == SERVER_ORIGINAL)
		buf_addf(out, " (%s, where the client wants to go)", addr_format_port(&q->local, text));
	if (server->kind == SERVER_HOST && !server->port)
		buf_addf(out, ":%u (the port that the client chose)", q->local.port);
}

void explain_stick(const struct section *s, struct buf *out)
{
	char text[TEXT_TIME_MAX];
	size_t len = strlen(text_format_time(s->stick.time_ms, text));

	if (s->stick.time_ms && s->n_servers > 1)
		buf_addf(out, "stick: a client gets its server again for %s%s after its last connection\n", text,
		         text[len - 1] <= '9' ? " s" : "");
}

static bool say_server(const struct config *c, const struct section *s, const struct explain *q, struct buf *out)
{
	const struct server *server = first_server(s);

	if (q->say_server)
		return q->say_server(q->arg, s, q, out);
	if (s->n_servers == 0) {
		buf_adds(out, "server: none: there are none now\n");
		return false;
	}
	if (!server) {
		buf_addf(out, "server: none: all %zu are disabled\n", s->n_servers);
		return false;
	}
	buf_adds(out, "server: ");
	explain_server(server, q, out);
	if (server->kind == SERVER_PROGRAM)
		buf_adds(out, "\n");
	else if (s->n_servers == 1)
		buf_adds(out, " (the only one)\n");
	else if (server->backup)
		buf_adds(out, " (a backup: the others are disabled)\n");
	else
		buf_addf(out, " (the first of %zu%s)\n", s->n_servers,
		         s->balance == BALANCE_ROUND_ROBIN ? ", which take turns" : "");
	explain_stick(s, out);
	explain_header_out(s, server, q, out);
	explain_source(c, s, server, q, out);
	return true;
}

/* "ADDR", "ADDR:PORT", "[V6]:PORT". */
static bool read_address(const char *text, const struct config_ops *world, struct addr *ret)
{
	char *host, *port;
	bool ok;

	if (addr_parse(text, ret))
		return true;
	if (endpoint_split(text, &host, &port))
		return false;
	ok = addr_parse(host, ret) && (!port || port_parse(world, port, &ret->port));
	free(host);
	free(port);
	return ok;
}

bool explain_is_more(const char *word)
{
	return !strncmp(word, "via=", 4) || !strncmp(word, "sni=", 4) || !strncmp(word, "alpn=", 5) ||
	       !strncmp(word, "protocol=", 9);
}

static bool read_more(const char *word, const struct config_ops *world, struct explain *ret, struct buf *why)
{
	char shown[SHOWN_MAX];

	if (!explain_is_more(word)) {
		buf_addf(why, "%s is none of " EXPLAIN_MORE, lex_show(word, shown));
		return false;
	}
	if (strncmp(word, "via=", 4))
		return explain_opening_word(word, ret, why);
	if (read_address(word + 4, world, &ret->via))
		return true;
	buf_addf(why, "%s is not of the form via=ADDRESS", lex_show(word, shown));
	return false;
}

bool explain_words(const char *client, const char *local, char *const *more, size_t n, const struct config_ops *world,
                   struct explain *ret, struct buf *why)
{
	char shown[SHOWN_MAX];

	if (!strcmp(client, "unix") || !strncmp(client, "unix:", 5)) {
		ret->client.family = AF_UNIX;
	} else if (!read_address(client, world, &ret->client)) {
		buf_addf(why, "%s is no address of a client: write ADDR or ADDR:PORT", lex_show(client, shown));
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (!read_more(more[i], world, ret, why))
			return false;
	if (local && (!strncmp(local, "unix:", 5) || !strncmp(local, "fd:", 3))) {
		ret->at = local;
		return true;
	}
	if (!local || port_parse(world, local, &ret->local.port) ||
	    (read_address(local, world, &ret->local) && ret->local.port))
		return true;
	buf_addf(why, "%s is not of the form [LOCAL:]PORT", lex_show(local, shown));
	return false;
}

static bool is_open(const struct config *c, const struct section *s, const struct explain *q, struct buf *out)
{
	const char *why = q->why_closed ? q->why_closed(q->arg, s) : NULL;

	if (why)
		say_closed(c, s, q, why, out);
	return !why;
}

/* What the client says has led from s to `found`: is it let in there, too? */
static bool is_let_in(const struct config *c, const struct section *s, const struct section *found,
                      const struct explain *q, const struct addr *client, struct buf *out)
{
	if (found == s)
		return true;
	return is_open(c, found, q, out) &&
	       (found->access.rules == opening_outer(c, found)->access.rules || say_access(c, found, client, out));
}

int config_explain(const struct config *c, const struct explain *q, struct buf *out)
{
	const struct section *s = find_section(c, q), *found;
	const struct addr *client;
	char text[ADDR_TEXT_MAX];

	if (!s) {
		if (q->at)
			buf_addf(out, "rule: none: port %s is not configured\n", q->at);
		else if (q->local.family == AF_UNSPEC)
			buf_addf(out, "rule: none: port %u is not configured\n", q->local.port);
		else
			buf_addf(out, "rule: none: nothing is configured for %s\n", addr_format_port(&q->local, text));
		return EXPLAIN_NO_RULE;
	}
	say_rule(c, s, q->local.port, out);
	if (!is_open(c, s, q, out))
		return EXPLAIN_DENIED;
	client = explain_header_in(s, q, out);
	found = say_access(c, s, client, out) ? explain_opening(c, s, q, out) : NULL;
	if (!found || !is_let_in(c, s, found, q, client, out)) {
		buf_adds(out, "server: none: the client is closed before any server hears of it\n");
		return EXPLAIN_DENIED;
	}
	return say_server(c, found, q, out) ? EXPLAIN_SERVED : EXPLAIN_DENIED;
}
