/* server.c - where a connection leads: server, exec; and acp, which is a program, too. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/endpoint.h"
#include "config/parser.h"

#define WEIGHT_MAX 1000
#define SERVER_MAX 1000000000

void server_release(struct server *s)
{
	free(s->host);
	free(s->path);
	words_free(s->argv);
	free(s->key);
	free(s->called);
	free(s->netns);
	free(s->device);
}

static uint32_t note_place(struct parser *p, uint32_t column)
{
	GROW(p->server_places, p->n_server_places, p->cap_server_places);
	p->server_places[p->n_server_places] = place_here(p, column);
	return (uint32_t)p->n_server_places++;
}

void pool_open(struct parser *p)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);

	if (s->servers && s->servers != outer->servers)
		return;
	s->servers = mem_alloc(4 * sizeof(*s->servers));
	s->n_servers = 0;
	s->sources = mem_alloc(sizeof(*s->sources));
	s->n_sources = 0;
	s->has_pool = s->own_pool = true;
}

/* False: an error was added. */
static bool has_room(struct parser *p, const struct section *s, uint32_t column)
{
	if (s->n_servers < POOL_MAX && p->n_servers < SERVERS_MAX)
		return true;
	if (p->told_full == s->index + 1)
		return false;
	p->told_full = s->index + 1;
	if (s->n_servers == POOL_MAX)
		parse_error(p, column, "more than %d servers in one pool", POOL_MAX);
	else
		parse_error(p, column, "more than %d servers in all", SERVERS_MAX);
	return false;
}

void server_add(struct parser *p, const struct server *server, uint32_t column)
{
	struct section *s = parse_section(p);
	bool program = server->kind == SERVER_PROGRAM;

	pool_open(p);
	if (!has_room(p, s, column)) {
		struct server dropped = *server;

		server_release(&dropped);
		return;
	}
	if (s->n_servers >= 4 && (s->n_servers & (s->n_servers - 1)) == 0)
		s->servers = mem_resize(s->servers, s->n_servers * 2, sizeof(*s->servers));
	if ((s->n_servers || s->n_sources) && (program || (s->n_servers && s->servers[0].kind == SERVER_PROGRAM)))
		parse_error(p, column, "a program serves alone: it cannot be in a pool with others");
	s->servers[s->n_servers++] = *server;
	p->n_servers++;
}

/* Servers that the file names; a packed text has others among them. */
static uint32_t count_said(const struct section *s)
{
	uint32_t n = 0;

	for (size_t i = 0; i < s->n_servers; i++)
		n += s->servers[i].from == FROM_FILE;
	return n;
}

void source_add(struct parser *p, const struct source *source, uint32_t column)
{
	struct section *s;

	pool_open(p);
	s = parse_section(p);
	if (section_is_program(s))
		parse_error(p, column, "a program serves alone: it cannot be in a pool with others");
	s->sources = mem_resize(s->sources, s->n_sources + 1, sizeof(*s->sources));
	s->sources[s->n_sources] = *source;
	s->sources[s->n_sources].before = count_said(s);
	s->n_sources++;
}

/* ---- programs ---- */

bool server_is_program(const char *word)
{
	return *word == '/' || *word == '.';
}

char **program_argv(struct parser *p, struct word *args, size_t n)
{
	char **argv = words_copy(args, n);

	free(argv[0]);
	argv[0] = parse_path(p, args[0].text);
	return argv;
}

char *program_key(char **argv)
{
	struct buf key = BUF_INIT;

	for (size_t i = 0; argv[i]; i++) {
		if (i)
			buf_addc(&key, ' ');
		lex_quote(argv[i], &key);
	}
	return buf_detach(&key);
}

void set_exec(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct server s = {.kind = SERVER_PROGRAM, .weight = 1, .line = p->frame->line};
	char shown[SHOWN_MAX];

	if (!server_is_program(args[0].text)) {
		parse_error(p, args[0].column, "%s is no path: a program begins with / or .",
		            lex_show(args[0].text, shown));
		return;
	}
	s.argv = program_argv(p, args, n);
	s.path = mem_strdup(s.argv[0]);
	s.key = program_key(s.argv);
	server_add(p, &s, p->line->words[0].column);
}

/* argv: of the section; what it has from the outer one is that one's. */
static void set_program(struct parser *p, char ***argv, char **const *outer, struct word *args, size_t n)
{
	char shown[SHOWN_MAX];

	if (!server_is_program(args[0].text)) {
		parse_error(p, args[0].column, "%s is no path: a program begins with / or .",
		            lex_show(args[0].text, shown));
		return;
	}
	if (!outer || *argv != *outer)
		words_free(*argv);
	*argv = program_argv(p, args, n);
}

void set_acp(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);

	set_program(p, &s->acp, outer ? &outer->acp : NULL, args, n);
}

void set_notify(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);

	set_program(p, &s->notify, outer ? &outer->notify : NULL, args, n);
}

/* ---- hosts ---- */

static const char *unix_parse(struct parser *p, const char *text, struct server *s)
{
	s->kind = SERVER_UNIX;
	if (!*text || !strcmp(text, "@"))
		return "a path belongs behind unix:, or @NAME";
	s->path = *text == '@' ? mem_strdup(text) : parse_path(p, text);
	if (strlen(s->path) > UNIX_PATH_MAX)
		return "the path of a Unix socket has at most 107 bytes";
	s->key = mem_printf("unix:%s", s->path);
	return NULL;
}

static const char *host_parse(struct parser *p, const char *text, struct server *s)
{
	char *port = NULL;
	const char *why = endpoint_split(text, &s->host, &port);

	s->kind = SERVER_HOST;
	if (!strncmp(text, "vsock:", 6))
		why = "\"server vsock:\" is not yet supported in this version";
	if (!why && port && !port_parse(p->world, port, &s->port))
		why = "its port is neither a number from 1 to 65535 nor a name from "
		      "/etc/services";
	free(port);
	if (why)
		return why;
	if (*text == '[' && (!parse_address(p, s->host, &s->addr, &s->zone) || s->addr.family != AF_INET6))
		return "brackets hold an IPv6 address";
	if (*text != '[' && !parse_address(p, s->host, &s->addr, &s->zone)) {
		why = host_check(s->host);
		if (why)
			return why;
	}
	s->key = mem_printf(*text == '[' ? "[%s]" : "%s", s->host);
	if (s->port) {
		char *with_port = mem_printf("%s:%u", s->key, s->port);

		free(s->key);
		s->key = with_port;
	}
	return NULL;
}

static const char *original_parse(struct parser *p, struct server *s)
{
	s->kind = SERVER_ORIGINAL;
	s->key = mem_strdup("original");
	return p->in_members ? "it stands in lines of the configuration only" : NULL;
}

/* "weight=5": the number after the equals sign. */
static const char *number_option(const char *text, uint64_t max, const char *why, uint32_t *ret)
{
	uint64_t n;

	if (!text_parse_uint(text, max, &n))
		return why;
	*ret = (uint32_t)n;
	return NULL;
}

static const char *proxy_option(const char *word, struct server *s)
{
	for (uint8_t i = SERVER_PROXY_OFF; i <= SERVER_PROXY_V2; i++)
		if (!strcmp(word, server_proxy_words[i])) {
			s->send_proxy = i;
			return NULL;
		}
	return "is none of send-proxy=v1, send-proxy=v2 and send-proxy=off";
}

/* Then it may say what no user says, but a record does (RFC 2782). */
static bool is_member(const struct parser *p)
{
	return p->in_members || (p->world && p->world->packed);
}

static const char *priority_option(const char *text, struct server *s)
{
	uint32_t n = 0;
	const char *why = number_option(text, UINT16_MAX, "is no priority", &n);

	s->priority = (uint16_t)n;
	return why;
}

static const char *server_option(const struct parser *p, const char *word, struct server *s)
{
	if (!strncmp(word, "weight=", 7))
		return number_option(word + 7, is_member(p) ? UINT16_MAX : WEIGHT_MAX,
		                     "is out of range: a weight goes from 0 to 1000", &s->weight);
	if (!strncmp(word, "priority=", 9) && is_member(p))
		return priority_option(word + 9, s);
	if (!strncmp(word, "max=", 4))
		return number_option(word + 4, SERVER_MAX, "is no number of connections", &s->max);
	if (!strncmp(word, "send-proxy=", 11))
		return proxy_option(word + 11, s);
	if (!strncmp(word, "netns=", 6) && p->in_members)
		return "stands in lines of the configuration only";
	if (!strcmp(word, "backup"))
		s->backup = true;
	else if (!strcmp(word, "disabled"))
		s->disabled = true;
	else
		return server_way_option(word, s);
	return NULL;
}

static void unknown_option(struct parser *p, const struct word *w)
{
	static const char *const options[] = {
	        "weight=", "max=", "backup", "disabled", "send-proxy=", "netns=", "device=", "mptcp", "each", NULL};
	char *name = mem_strndup(w->text, strcspn(w->text, "="));
	const char *near = text_nearest(name, options), *answer = peer_answer(name);
	char shown[SHOWN_MAX];

	lex_show(w->text, shown);
	if (!strcasecmp(name, "maxconn") || !strcasecmp(name, "max_conns"))
		near = "max=";
	if (!strcmp(w->text, "each"))
		parse_error(p, w->column, "%s stands in lines of the configuration only", shown);
	else if (near)
		parse_error(p, w->column, "%s is no option of a server; did you mean \"%s\"?", shown, near);
	else if (!strcmp(name, "check"))
		parse_error(p, w->column, "%s is no option of a server; a line \"check KIND\" asks all of the section",
		            shown);
	else if (answer)
		parse_error(p, w->column, "%s is no option of a server; %s", shown, answer);
	else if (strchr(w->text, ':') || strchr(w->text, '.'))
		parse_error(p, w->column, "%s is no option of a server; each server has a line of its own", shown);
	else
		parse_error(p, w->column,
		            "%s is no option of a server: weight=N, backup, max=N, disabled, send-proxy=v1|v2|off, "
		            "netns=, device= and mptcp are, "
		            "and \"as NAME\" at the end of the line",
		            shown);
	free(name);
}

static bool server_options(struct parser *p, struct word *args, size_t n, struct server *s)
{
	char shown[SHOWN_MAX];
	bool ok = true;

	for (size_t i = 0; i < n; i++) {
		const char *why = server_option(p, args[i].text, s);

		if (!why)
			continue;
		ok = false;
		if (*why)
			parse_error(p, args[i].column, "%s %s", lex_show(args[i].text, shown), why);
		else
			unknown_option(p, &args[i]);
	}
	return ok;
}

bool server_words(struct parser *p, struct word *args, size_t n, struct server *ret, bool good)
{
	struct word *name = called_take(p, args, &n);

	if (name)
		ret->called = mem_strdup(name->text);
	ret->place = note_place(p, args[0].column);
	if (server_options(p, args + 1, n - 1, ret) && good) {
		if (name)
			called_note(p, name, ret->called, ret->key);
		return true;
	}
	server_release(ret);
	return false;
}

bool server_read(struct parser *p, struct word *args, size_t n, struct server *ret)
{
	char *text = args[0].text, shown[SHOWN_MAX];
	const char *why;

	*ret = (struct server){.weight = 1, .line = p->frame->line};
	if (!strncmp(text, "unix:", 5))
		why = unix_parse(p, text + 5, ret);
	else if (!strcmp(text, "original"))
		why = original_parse(p, ret);
	else
		why = host_parse(p, text, ret);
	if (why)
		parse_error(p, args[0].column, "%s is no server: %s", lex_show(text, shown), why);
	return server_words(p, args, n, ret, !why);
}
