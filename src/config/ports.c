/*
 * ports.c - port: where a service listens. At ports of this host; or at a place that is none of these: ports of another network namespace,
 * or of one interface, a Unix socket, sockets that systemd has opened. A place has a number, which stands as the scope in the local addresses
 * of those who come there: so each finds its service, though another one may listen at the same port.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "config/endpoint.h"
#include "config/parser.h"

#define RANGES_MAX  1000
#define MODE_USUAL  0660
#define FD_NAME_MAX 255

/* ---- ports ---- */

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

void port_range_add(struct parser *p, const struct word *w, struct port_range **list, size_t *n)
{
	char shown[SHOWN_MAX];
	struct port_range r;
	const char *why = range_parse(p, w->text, &r);

	if (why) {
		parse_error(p, w->column, "%s %s", lex_show(w->text, shown), why);
		return;
	}
	for (size_t i = 0; i < *n; i++)
		if (r.first <= (*list)[i].last && (*list)[i].first <= r.last) {
			parse_error(p, w->column, "%s names a port of this line twice", lex_show(w->text, shown));
			return;
		}
	*list = mem_resize(*list, *n + 1, sizeof(**list));
	(*list)[(*n)++] = r;
}

static void look_at_netns(struct parser *p, const struct service *service, const struct word *w)
{
	char shown[SHOWN_MAX];

	if (!service->netns)
		parse_error(p, w->column,
		            "%s: the name of a network namespace (ip netns) belongs behind netns=, or a path that "
		            "begins with /",
		            lex_show(w->text, shown));
	else if (p->world && p->world->netns_exists && !p->world->netns_exists(p->world->arg, service->netns))
		parse_error(p, w->column, "namespace %s does not exist (%s)",
		            lex_show(netns_word(service->netns), shown), service->netns);
}

/* netns=, device=, mptcp. False: it is none of these. */
static bool port_option(struct parser *p, struct service *service, const struct word *w)
{
	char shown[SHOWN_MAX];

	if (!strncmp(w->text, "netns=", 6)) {
		free(service->netns);
		service->netns = netns_path(w->text + 6);
		look_at_netns(p, service, w);
	} else if (!strncmp(w->text, "device=", 7)) {
		if (!interface_name(w->text + 7))
			parse_error(p, w->column, "%s: the name of an interface (ip link) belongs behind device=",
			            lex_show(w->text, shown));
		free(service->device);
		service->device = mem_strdup(w->text + 7);
	} else if (!strcmp(w->text, "mptcp")) {
		service->mptcp = true;
	} else {
		return false;
	}
	return true;
}

static void read_ports(struct parser *p, struct service *service, struct word *args, size_t n)
{
	if (n > RANGES_MAX) {
		parse_error(p, args[RANGES_MAX].column, "a \"port\" line takes at most %d ranges", RANGES_MAX);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (i == 0 || !port_option(p, service, &args[i]))
			port_range_add(p, &args[i], &service->ports, &service->n_ports);
}

/* ---- sockets ---- */

/* Such a socket stands alone in its line. */
static bool is_socket(const char *text)
{
	return !strncmp(text, "unix:", 5) || !strncmp(text, "fd:", 3) || !strncmp(text, "vsock:", 6);
}

static void read_mode(struct parser *p, struct service *service, const struct word *w)
{
	char shown[SHOWN_MAX], *end;
	unsigned long mode = strtoul(w->text + 5, &end, 8);

	if (w->text[5] < '0' || w->text[5] > '7' || *end || mode > 0777)
		parse_error(p, w->column, "%s: the rights of a file belong behind mode=, from 0 to 0777",
		            lex_show(w->text, shown));
	else
		service->mode = (uint32_t)mode;
}

static void read_owner(struct parser *p, struct service *service, const struct word *w)
{
	const char *owner = w->text + 6, *colon = strchr(owner, ':');
	char shown[SHOWN_MAX];

	if (!*owner || colon == owner || (colon && (!colon[1] || strchr(colon + 1, ':')))) {
		parse_error(p, w->column, "%s: USER or USER:GROUP belongs behind owner=", lex_show(w->text, shown));
		return;
	}
	free(service->owner);
	service->owner = mem_strdup(owner);
}

static void read_unix(struct parser *p, struct service *service, struct word *args, size_t n)
{
	const char *text = args[0].text + 5;
	char shown[SHOWN_MAX];

	service->listen = LISTEN_UNIX;
	service->mode = MODE_USUAL;
	service->path = *text == '@' ? mem_strdup(text) : parse_path(p, text);
	if (!*text || !strcmp(text, "@"))
		parse_error(p, args[0].column, "a path belongs behind unix:, or @NAME for a socket without a file");
	else if (strlen(service->path) > UNIX_PATH_MAX)
		parse_error(p, args[0].column, "the path of a Unix socket has at most %d bytes", UNIX_PATH_MAX);
	for (size_t i = 1; i < n; i++) {
		bool mode = !strncmp(args[i].text, "mode=", 5), owner = !strncmp(args[i].text, "owner=", 6);

		if (!mode && !owner)
			parse_error(p, args[i].column,
			            "%s: a Unix socket stands alone in its \"port\" line, but for mode=0660, "
			            "owner=USER[:GROUP] and as NAME",
			            lex_show(args[i].text, shown));
		else if (*text == '@')
			parse_error(p, args[i].column, "%s: unix:@NAME has no file, so anybody may connect",
			            lex_show(args[i].text, shown));
		else
			(mode ? read_mode : read_owner)(p, service, &args[i]);
	}
}

/* As systemd takes it (systemd.socket(5)). */
static bool is_fd_name(const char *name)
{
	for (const char *s = name; *s; s++)
		if (*s <= ' ' || *s > '~' || *s == ':')
			return false;
	return strlen(name) <= FD_NAME_MAX;
}

static void read_passed(struct parser *p, struct service *service, struct word *args, size_t n)
{
	char shown[SHOWN_MAX];

	service->listen = LISTEN_PASSED;
	service->path = mem_strdup(args[0].text + 3);
	if (!is_fd_name(service->path))
		parse_error(p, args[0].column,
		            "%s: behind fd: belongs what FileDescriptorName= says in the .socket unit, or nothing",
		            lex_show(args[0].text, shown));
	if (n > 1)
		parse_error(p, args[1].column,
		            "%s: sockets that are passed stand alone in their \"port\" line, but for as NAME",
		            lex_show(args[1].text, shown));
}

/* ---- the line ---- */

uint32_t place_number(const char *text)
{
	uint64_t h = hash_bytes(HASH_START, text, strlen(text));

	return ((uint32_t)(h ^ h >> 32) | ADDR_PLACE) & ~1u; /* never ADDR_NO_SCOPE */
}

static void number_it(struct service *service)
{
	struct buf where = BUF_INIT, whole = BUF_INIT;

	service_ports(service, &whole);
	if (service->listen != LISTEN_PORTS)
		service->place = place_number(whole.s);
	if (service->netns)
		buf_addf(&where, "netns=%s ", service->netns);
	if (service->device)
		buf_addf(&where, "device=%s", service->device);
	if (where.len)
		service->place = place_number(where.s);
	service->number = service->place ? place_number(whole.s) : service_first_port(service);
	buf_release(&where);
	buf_release(&whole);
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
	for (size_t i = 1; i < n; i++)
		if (is_socket(args[i].text)) {
			parse_error(p, args[i].column, "%s stands alone: it needs a \"port\" line of its own",
			            lex_show(args[i].text, shown));
			return;
		}
	if (!strncmp(args[0].text, "vsock:", 6))
		parse_error(p, args[0].column, "\"port vsock:\" is not yet supported in this version");
	else if (!strncmp(args[0].text, "unix:", 5))
		read_unix(p, service, args, n);
	else if (!strncmp(args[0].text, "fd:", 3))
		read_passed(p, service, args, n);
	else
		read_ports(p, service, args, n);
	number_it(service);
}

/* ---- what is said of it ---- */

void service_ports(const struct service *service, struct buf *out)
{
	if (service->listen != LISTEN_PORTS) {
		buf_addf(out, "%s%s", service->listen == LISTEN_UNIX ? "unix:" : "fd:", service->path);
		return;
	}
	for (size_t i = 0; i < service->n_ports; i++) {
		const struct port_range *r = &service->ports[i];

		buf_addf(out, r->last == r->first ? "%s%u" : "%s%u-%u", i ? "," : "", r->first, r->last);
	}
	if (service->netns)
		buf_addf(out, ",netns=%s", netns_word(service->netns));
	if (service->device)
		buf_addf(out, ",device=%s", service->device);
}

void port_line_print(const struct service *service, struct buf *out)
{
	if (service->listen != LISTEN_PORTS)
		lex_quote_option(service->listen == LISTEN_UNIX ? "unix:" : "fd:", service->path, out);
	for (size_t i = 0; i < service->n_ports; i++) {
		const struct port_range *r = &service->ports[i];

		buf_addf(out, r->last == r->first ? " %u" : " %u-%u", r->first, r->last);
	}
	if (service->listen == LISTEN_UNIX && service->mode != MODE_USUAL)
		buf_addf(out, " mode=%04o", service->mode);
	if (service->owner)
		lex_quote_option("owner=", service->owner, out);
	if (service->netns)
		lex_quote_option("netns=", netns_word(service->netns), out);
	if (service->device)
		lex_quote_option("device=", service->device, out);
	if (service->mptcp)
		buf_adds(out, " mptcp");
}

bool config_listens_in_netns(const struct config *c)
{
	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].netns)
			return true;
	return false;
}
