/* admin.c - where one may look in, and what the log says of connections. */
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/format.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/endpoint.h"
#include "config/parser.h"

#define INTERVAL_LEAST_MS 100

/* ---- admin ---- */

/* A port alone, and "localhost", are of the loopback address. */
static bool read_address(struct parser *p, const char *text, const char *host, const char *port,
                         struct admin_point *ret)
{
	if (all_digits(text)) {
		port = text;
		host = "localhost";
	}
	if (!host || !port)
		return false;
	return parse_address(p, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &ret->addr, &ret->zone) &&
	       port_parse(p->world, port, &ret->addr.port);
}

static bool read_point(struct parser *p, const struct word *w, struct admin_point *ret)
{
	char shown[SHOWN_MAX];
	char *host, *port;
	bool ok;

	if (strncmp(w->text, "unix:", 5) == 0) {
		if (!w->text[5]) {
			parse_error(p, w->column, "\"unix:\" needs the path of the socket: unix:PATH");
			return false;
		}
		ret->path = parse_path(p, w->text + 5);
		if (strlen(ret->path) < sizeof(((struct sockaddr_un *)0)->sun_path))
			return true;
		parse_error(p, w->column, "%s is too long for the path of a socket: at most %zu bytes",
		            lex_show(w->text + 5, shown), sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
		return false;
	}
	if (!HAVE_PAGE) {
		parse_error(p, w->column,
		            "this tcpproxy was built without HTTP (libmicrohttpd): only unix:PATH is possible");
		return false;
	}
	if (endpoint_split(w->text, &host, &port))
		host = port = NULL;
	ok = read_address(p, w->text, host, port, ret);
	free(host);
	free(port);
	if (!ok)
		parse_error(p, w->column, "%s is neither unix:PATH nor ADDR:PORT", lex_show(w->text, shown));
	return ok;
}

static bool read_name(struct parser *p, const struct word *w, struct admin_point *ret)
{
	const char *name = w->text + strlen("name="), *why = host_check(name);

	if (why)
		parse_error(p, w->column, "%s: a name is written without a port", why);
	else
		ret->name = mem_strdup(name);
	return !why;
}

/* token=FILE, name=HOST; each once. */
static bool read_option(struct parser *p, const struct word *w, struct admin_point *ret)
{
	bool token = strncmp(w->text, "token=", 6) == 0 && w->text[6] && !ret->token;
	bool name = strncmp(w->text, "name=", 5) == 0 && w->text[5] && !ret->name;
	char shown[SHOWN_MAX];

	if (!token && !name) {
		parse_error(p, w->column, "%s is too much: admin ADDR:PORT [token=FILE] [name=HOST]|unix:PATH",
		            lex_show(w->text, shown));
		return false;
	}
	if (ret->path) {
		parse_error(p, w->column, "a %s belongs to ADDR:PORT; a socket asks the kernel who calls",
		            token ? "token" : "name");
		return false;
	}
	if (name)
		return read_name(p, w, ret);
	ret->token = parse_path(p, w->text + 6);
	return true;
}

static bool same_point(const struct admin_point *a, const struct admin_point *b)
{
	if (a->path || b->path)
		return a->path && b->path && !strcmp(a->path, b->path);
	return addr_same_host(&a->addr, &b->addr) && a->zone == b->zone && a->addr.port == b->addr.port;
}

void set_admin(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct admin_point point = {0};
	struct config *c = p->c;
	char shown[SHOWN_MAX];
	bool ok = read_point(p, &args[0], &point);

	for (size_t i = 1; i < n && ok; i++)
		ok = read_option(p, &args[i], &point);
	for (size_t i = 0; ok && i < c->n_admins; i++) {
		if (!same_point(&c->admins[i], &point))
			continue;
		parse_error(p, args[0].column, "%s is named twice", lex_show(args[0].text, shown));
		ok = false;
	}
	if (!ok) {
		free(point.path);
		free(point.token);
		free(point.name);
		return;
	}
	c->admins = mem_resize(c->admins, c->n_admins + 1, sizeof(*c->admins));
	c->admins[c->n_admins++] = point;
}

/* ---- the records ---- */

static bool read_interval(struct parser *p, const struct word *w, int64_t *ret)
{
	char shown[SHOWN_MAX];

	if (text_parse_time_ms(w->text, ret) && *ret >= INTERVAL_LEAST_MS)
		return true;
	parse_error(p, w->column, "%s is no interval: a time of at least 0.1 seconds", lex_show(w->text, shown));
	return false;
}

void set_access_log(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	static const struct {
		const char *word;
		enum access_log value;
	} words[] = {
	        {"off", ACCESS_LOG_OFF},   {"errors", ACCESS_LOG_ERRORS},     {"end", ACCESS_LOG_END},
	        {"open", ACCESS_LOG_OPEN}, {"interval", ACCESS_LOG_INTERVAL},
	};
	struct section *s = parse_section(p);
	int64_t interval = 0;
	char shown[SHOWN_MAX];

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		bool timed = words[i].value == ACCESS_LOG_INTERVAL;

		if (strcmp(args[0].text, words[i].word))
			continue;
		if (timed && n < 2)
			parse_error(p, p->line->end,
			            "\"access-log interval\" needs a time: "
			            "access-log interval TIME");
		else if (!timed && n > 1)
			parse_error(p, args[1].column, "%s is too much: access-log %s", lex_show(args[1].text, shown),
			            words[i].word);
		else if (!timed || read_interval(p, &args[1], &interval)) {
			s->access_log = words[i].value;
			s->access_interval_ms = interval;
		}
		return;
	}
	parse_error(p, args[0].column, "%s is none of off, errors, end, open and interval TIME",
	            lex_show(args[0].text, shown));
}

void set_log_format(struct parser *p, const struct directive *d, struct word *args, size_t n)
{
	struct section *s = parse_section(p);
	const struct section *outer = section_outer(p->c, s);
	struct buf why = BUF_INIT;

	if (!format_check(args[0].text, &why)) {
		parse_error(p, args[0].column, "%s", why.s);
		buf_release(&why);
		return;
	}
	if (!outer || s->log_format != outer->log_format)
		free(s->log_format);
	s->log_format = mem_strdup(args[0].text);
}
