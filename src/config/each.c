/*
 * each.c - lines with a server, and those that stand for many: each address of a name (server HOST[:PORT] each), and the servers of a
 * service, by its SRV records (server srv:_NAME._PROTO.DOMAIN). Whoever reads the text asks for what these have now (members.c); here is
 * what such a line may say.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/endpoint.h"
#include "config/parser.h"

#define SRV "srv:"

static bool is_said(const struct word *args, size_t n)
{
	if (!strncmp(args[0].text, SRV, strlen(SRV)))
		return true;
	for (size_t i = 1; i < n && strcmp(args[i].text, "as"); i++)
		if (!strcmp(args[i].text, "each"))
			return true;
	return false;
}

/* Takes the word out; returns how many are left. */
static size_t take_each(struct parser *p, struct word *args, size_t n)
{
	size_t left = 1, taken = 0;
	bool over = false;

	for (size_t i = 1; i < n; i++) {
		over |= !strcmp(args[i].text, "as");
		if (over || strcmp(args[i].text, "each") != 0)
			args[left++] = args[i];
		else if (taken++ > 0)
			parse_error(p, args[i].column, "\"each\" is said twice");
	}
	return left;
}

/* Static: what is wrong with the name of a service; NULL: nothing. */
static const char *service_check(const char *name)
{
	const char *proto = strchrnul(name, '.'), *domain;

	if (name[0] != '_' || proto == name + 1 || proto[0] != '.' || proto[1] != '_')
		return "write srv:_NAME._PROTO.DOMAIN, as srv:_imap._tcp.example.com";
	domain = strchrnul(proto + 1, '.');
	if (domain == proto + 2 || !*domain || !domain[1])
		return "write srv:_NAME._PROTO.DOMAIN, as srv:_imap._tcp.example.com";
	if (strchr(name, ':'))
		return "the port is that of each record";
	return host_check(name);
}

/* Words that a record says for itself. */
static bool says_weight(struct parser *p, const struct word *args, size_t n)
{
	bool any = false;
	char shown[SHOWN_MAX];

	for (size_t i = 1; i < n && strcmp(args[i].text, "as"); i++) {
		if (strncmp(args[i].text, "weight=", 7))
			continue;
		parse_error(p, args[i].column,
		            "%s: the weight is that of each record: max=N, backup and disabled can be said",
		            lex_show(args[i].text, shown));
		any = true;
	}
	return any;
}

static bool read_service(struct parser *p, struct word *args, size_t n, struct server *ret)
{
	const char *name = args[0].text + strlen(SRV), *why = service_check(name);
	char shown[SHOWN_MAX];

	if (why)
		parse_error(p, args[0].column, "%s is no service: %s", lex_show(args[0].text, shown), why);
	if (says_weight(p, args, n) || why)
		return false;
	*ret = (struct server){.kind = SERVER_HOST,
	                       .host = mem_strdup(name),
	                       .key = mem_strdup(args[0].text),
	                       .weight = 1,
	                       .line = p->frame->line};
	return server_words(p, args, n, ret, true);
}

static bool read_host(struct parser *p, struct word *args, size_t n, struct server *ret)
{
	char shown[SHOWN_MAX];

	if (!server_read(p, args, n, ret))
		return false;
	if (ret->kind == SERVER_HOST && ret->addr.family == AF_UNSPEC)
		return true;
	parse_error(p, args[0].column, "%s is %s: \"each\" is said of a name, which may have many addresses",
	            lex_show(args[0].text, shown), ret->kind == SERVER_UNIX ? "a socket" : "an address");
	called_forget(p, ret->called);
	server_release(ret);
	return false;
}

static void set_many(struct parser *p, struct word *args, size_t n)
{
	bool is_service = !strncmp(args[0].text, SRV, strlen(SRV));
	struct source s = {.kind = is_service ? SOURCE_SERVICE : SOURCE_EACH};
	struct buf line = BUF_INIT;
	uint32_t column = args[0].column;

	n = take_each(p, args, n);
	if (!(is_service ? read_service : read_host)(p, args, n, &s.of))
		return;
	buf_adds(&line, "server ");
	server_print_each(&s.of, is_service ? "" : " each", &line);
	s.line = buf_detach(&line);
	source_add(p, &s, column);
}

void set_server(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct server s;

	if (server_is_program(args[0].text)) {
		set_exec(p, d, args, n);
		return;
	}
	if (is_said(args, n)) {
		set_many(p, args, n);
		return;
	}
	if (server_read(p, args, n, &s))
		server_add(p, &s, p->line->words[0].column);
}

/* An address for which no port was said is called at that of its service, if that has one only. */
void each_complete(const struct service *service, struct server *member)
{
	char text[ADDR_TEXT_MAX];

	if (member->port || service->n_ports != 1 || service->ports[0].first != service->ports[0].last ||
	    member->addr.family == AF_UNSPEC)
		return;
	member->port = member->addr.port = service->ports[0].first;
	free(member->key);
	member->key = mem_strdup(addr_format_port(&member->addr, text));
	member->addr.port = 0;
}
