#include "cmdline/sources.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/endpoint.h"
#include "config/lex.h"

static void source_add(struct sources *s, const char *name, const char *origin, char *text)
{
	s->list = mem_resize(s->list, s->n + 1, sizeof(*s->list));
	s->list[s->n++] = (struct config_source){
	        .name = mem_strdup(name),
	        .path = s->path,
	        .text = text,
	        .origin = mem_strdup(origin),
	};
}

void sources_release(struct sources *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free((char *)s->list[i].name);
		free((char *)s->list[i].text);
		free((char *)s->list[i].origin);
	}
	free(s->list);
	free(s->path);
}

void sources_add_texts(struct sources *s, const struct option_text *texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		source_add(s, texts[i].name, "command-line", mem_strdup(texts[i].text));
}

/* ---- -b and the server, as text ---- */

struct bind {
	const char *text;
	char *host; /* NULL: every address */
	char *port;
	bool done;
};

static bool bind_parse(const char *text, struct bind *ret, struct config_errors *errors)
{
	const char *why;
	struct addr a;

	*ret = (struct bind){.text = text};
	if (addr_parse(text, &a)) {
		usage_error(errors, "-b %s: the port is missing: write -b %s%s%s:PORT", text,
		            a.family == AF_INET6 && *text != '[' ? "[" : "", text,
		            a.family == AF_INET6 && *text != '[' ? "]" : "");
		return false;
	}
	if (!strchr(text, ':')) {
		ret->port = mem_strdup(text);
		return true;
	}
	why = endpoint_split(text, &ret->host, &ret->port);
	if (why) {
		char shown[SHOWN_MAX];

		usage_error(errors, "-b: %s is not of the form [ADDR:]PORT: %s", lex_show(text, shown), why);
		return false;
	}
	if (!strcmp(ret->host, "*")) {
		free(ret->host);
		ret->host = NULL;
	}
	return true;
}

static char *line_of(const char *keyword, const char *value)
{
	struct buf text = BUF_INIT;

	buf_addf(&text, "%s ", keyword);
	lex_quote(value, &text);
	return buf_detach(&text);
}

static bool is_program(const char *server)
{
	return *server == '/' || *server == '.';
}

static void servers_add(struct sources *s, const struct options *o)
{
	if (o->server && is_program(o->server))
		source_add(s, "server", "command-line", mem_printf("exec %s", o->server));
	else if (o->server)
		source_add(s, "server", "command-line", line_of("server", o->server));
	sources_add_texts(s, o->section, o->n_section);
}

static void bind_line(struct sources *s, const struct bind *b, const char *keyword, const char *value)
{
	char *name = mem_printf("-b %s", b->text);
	char *origin = mem_printf("-b:%s", b->text);

	source_add(s, name, origin, line_of(keyword, value));
	free(name);
	free(origin);
}

static void interface_add(struct sources *s, const struct bind *b, const struct options *o)
{
	static const char *const loopback[] = {"127.0.0.1", "::1"};

	if (strcmp(b->host, "localhost")) {
		bind_line(s, b, "interface", b->host);
		servers_add(s, o);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(loopback); i++) {
		bind_line(s, b, "interface", loopback[i]);
		servers_add(s, o);
	}
}

/* The next -b of the same port that names an address, or none. */
static struct bind *next_bind(struct bind *binds, size_t n, const char *port, bool address)
{
	for (size_t i = 0; i < n; i++) {
		if (!binds[i].done && !binds[i].host == !address && !strcmp(binds[i].port, port))
			return &binds[i];
	}
	return NULL;
}

/* One service for all -b of the same port: first its own section, then those of the addresses. */
static void service_add(struct sources *s, struct bind *binds, size_t n, const char *port, const struct options *o)
{
	struct bind *b = next_bind(binds, n, port, false);

	bind_line(s, b ? b : next_bind(binds, n, port, true), "port", port);
	sources_add_texts(s, o->service, o->n_service);
	if (b) {
		servers_add(s, o);
		b->done = true;
	}
	while ((b = next_bind(binds, n, port, true))) {
		interface_add(s, b, o);
		b->done = true;
	}
}

void sources_add_binds(struct sources *s, const struct options *o, struct config_errors *errors)
{
	struct bind *binds = mem_alloc((o->n_binds + 1) * sizeof(*binds));
	size_t n = 0;

	for (size_t i = 0; i < o->n_binds; i++)
		n += bind_parse(o->binds[i], &binds[n], errors);
	for (size_t i = 0; i < n; i++) {
		if (!binds[i].done)
			service_add(s, binds, n, binds[i].port, o);
	}
	for (size_t i = 0; i < n; i++) {
		free(binds[i].host);
		free(binds[i].port);
	}
	free(binds);
}

void sources_add_server(struct sources *s, const struct options *o)
{
	source_add(s, "server", "command-line", mem_strdup("port 1"));
	sources_add_texts(s, o->service, o->n_service);
	servers_add(s, o);
}
