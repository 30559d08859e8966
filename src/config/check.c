/* check.c - rules across lines, and what follows from all of them. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parser.h"

/* Listening sockets that are served (TRIO_LISTENERS in takeover/table.h): two of a port without an interface, for IPv4 and IPv6. */
#define SOCKETS_MAX 32768

/* ---- what follows from the whole ---- */

static void wait_finish(struct section *s)
{
	if (s->wait)
		s->half_close_timeout_ms = 0;
}

static void sections_finish(struct config *c)
{
	int64_t stop = c->n_sections ? -1 : c->global.stop_timeout_ms;

	wait_finish(&c->global);
	for (size_t i = 0; i < c->n_sections; i++) {
		struct section *s = &c->sections[i];

		wait_finish(s);

		if (stop < 0 || s->stop_timeout_ms == 0 || (stop && s->stop_timeout_ms > stop))
			stop = s->stop_timeout_ms;
	}
	c->stop_timeout_ms = stop;
	c->max_connections = c->global.max_connections;
}

/* ---- what is missing ---- */

static void need_server(struct parser *p, const struct section *s)
{
	struct place at = p->places[s->index];

	at.column = at.end;
	parse_error_at(p, &at, "this %s leads nowhere: a \"server\" or \"exec\" line is missing",
	               s->opening.kind == OPENING_SNI        ? "sni"
	               : s->opening.kind == OPENING_PROTOCOL ? "protocol"
	               : s->kind == INTERFACE_NONE           ? "port"
	                                                     : "interface");
}

static void check_servers(struct parser *p)
{
	struct config *c = p->c;
	/* What is missing may stand in a line that was not understood. */
	bool errors = p->errors->n > 0;

	for (size_t i = 0; i < c->n_services; i++) {
		struct service *service = &c->services[i];
		const struct section *root = &c->sections[service->root];

		service->wildcard = section_serves(c, root) || service->intercept;
		if (errors && p->puzzled[service->root])
			continue;
		if (!section_serves(c, root) && service->n_sections == 0)
			need_server(p, root);
		for (size_t j = 0; j < service->n_sections; j++) {
			const struct section *s = &c->sections[service->first_section + j];

			if (!section_serves(c, s) && !(errors && p->puzzled[s->index]))
				need_server(p, s);
		}
	}
}

static uint32_t n_interfaces(const struct config *c, const struct service *service)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < service->n_sections; i++)
		n += c->sections[service->first_section + i].kind != INTERFACE_NONE;
	return n;
}

static void check_sockets(struct parser *p)
{
	struct config *c = p->c;
	uint64_t sum = 0;

	for (size_t i = 0; i < c->n_services; i++) {
		const struct service *service = &c->services[i];
		uint64_t ports = 0;

		for (size_t j = 0; j < service->n_ports; j++)
			ports += 1u + service->ports[j].last - service->ports[j].first;
		sum += service->listen == LISTEN_PORTS
		               ? ports * (n_interfaces(c, service) + (service->wildcard ? 2 : 0))
		               : 1;
		if (sum > SOCKETS_MAX) {
			parse_error_at(p, &p->places[service->root],
			               "up to here %llu sockets would have to listen (two for a port without an "
			               "interface); at most %d "
			               "can",
			               (unsigned long long)sum, SOCKETS_MAX);
			return;
		}
	}
}

/* ---- what a place cannot have ---- */

/* Whoever comes there has no port that his server could be called at. */
static void check_port_of_server(struct parser *p, const struct server *s)
{
	if (s->kind == SERVER_HOST && !s->port)
		parse_error_at(p, &p->server_places[s->place],
		               "this server needs a port: its clients come by a socket that has none");
}

static void check_ports_of_servers(struct parser *p, const struct section *s)
{
	for (size_t k = 0; k < s->n_servers; k++)
		if (s->servers[k].from == FROM_FILE)
			check_port_of_server(p, &s->servers[k]);
	for (size_t k = 0; k < s->n_sources; k++)
		if (s->sources[k].kind == SOURCE_EACH)
			check_port_of_server(p, &s->sources[k].of);
}

/* Names and networks are looked up among our own addresses. */
static void check_interface_elsewhere(struct parser *p, const struct section *s)
{
	if (s->kind == INTERFACE_NAME || s->kind == INTERFACE_NETWORK)
		parse_error_at(p, &p->places[s->index],
		               "behind a port with netns= an \"interface\" is an address, not a name or a network");
}

static void check_places(struct parser *p)
{
	const struct config *c = p->c;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];
		const struct service *service = &c->services[s->service];

		if (service->listen != LISTEN_PORTS && s->own_pool)
			check_ports_of_servers(p, s);
		if (service->netns)
			check_interface_elsewhere(p, s);
	}
}

/* ---- ports that are opened twice ---- */

static int compare_number(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* A section that listens, and where. */
struct listens {
	const struct section *section;
	uint32_t place;
};

/* Sections for the same local address are neighbours then. */
static int compare_interface(const struct listens *la, const struct listens *lb)
{
	const struct section *a = la->section, *b = lb->section;
	int d = compare_number(la->place, lb->place);

	if (!d)
		d = compare_number(a->kind, b->kind);
	if (d || a->kind == INTERFACE_NONE)
		return d;
	if (a->kind == INTERFACE_NAME)
		return strcmp(a->name, b->name);
	d = compare_number(a->net.net.family, b->net.net.family);
	if (!d)
		d = compare_number(a->net.bits, b->net.bits);
	if (!d)
		d = compare_number(a->net.net.scope, b->net.net.scope);
	if (!d)
		d = compare_number(a->zone, b->zone);
	return d ? d : memcmp(a->net.net.ip, b->net.net.ip, sizeof(a->net.net.ip));
}

static int compare_sections(const void *pa, const void *pb)
{
	const struct listens *a = pa, *b = pb;
	int d = compare_interface(a, b);

	return d ? d : compare_number(a->section->index, b->section->index);
}

struct claim {
	struct port_range range;
	const struct section *section;
};

static int compare_claims(const void *pa, const void *pb)
{
	const struct claim *a = pa, *b = pb;
	int d = compare_number(a->range.first, b->range.first);

	return d ? d : compare_number(a->section->index, b->section->index);
}

static void opened_twice(struct parser *p, const struct section *a, const struct section *b, uint16_t port)
{
	const struct section *first = a->index < b->index ? a : b;
	const struct section *second = first == a ? b : a;

	parse_error_at(p, &p->places[second->index], "port %u is opened twice on the same interface; the first is %s",
	               port, first->origin);
}

/* All sections of one interface: does a port stand in two of them? */
static void check_group(struct parser *p, const struct listens *group, size_t n)
{
	const struct config *c = p->c;
	struct claim *claims = NULL, *last;
	size_t n_claims = 0, room = 0;

	for (size_t i = 0; i < n; i++) {
		const struct section *section = group[i].section;
		const struct service *service = &c->services[section->service];

		if (i && service->listen != LISTEN_PORTS) {
			parse_error_at(p, &p->places[section->index], "this socket is opened twice; the first is %s",
			               group[i - 1].section->origin);
			continue;
		}
		if (i && section->service == group[i - 1].section->service) {
			if (service->n_ports)
				opened_twice(p, group[i - 1].section, section, service->ports[0].first);
			continue;
		}
		for (size_t j = 0; j < service->n_ports; j++) {
			GROW(claims, n_claims, room);
			claims[n_claims++] = (struct claim){service->ports[j], section};
		}
	}
	if (n_claims)
		qsort(claims, n_claims, sizeof(*claims), compare_claims);
	last = claims;
	for (size_t i = 1; i < n_claims; i++) {
		struct claim *claim = &claims[i];

		/* One message for each pair of neighbours says enough. */
		if (claim->range.first <= last->range.last && claim->section != last->section)
			opened_twice(p, last->section, claim->section, claim->range.first);
		if (claim->range.last >= last->range.last)
			last = claim;
	}
	free(claims);
}

/* Of this host: what it catches comes by one. */
static bool is_at_a_port(const struct service *service)
{
	return service->listen == LISTEN_PORTS && (service->intercept || !service->place);
}

static void check_duplicates(struct parser *p)
{
	const struct config *c = p->c;
	struct listens *all = mem_alloc(c->n_sections * sizeof(*all));
	size_t n = 0;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];
		const struct service *service = &c->services[s->service];

		if (s->kind != INTERFACE_NONE || (s->index == service->root && service->wildcard))
			all[n++] = (struct listens){s, is_at_a_port(service) ? 0 : service->place};
	}
	if (n)
		qsort(all, n, sizeof(*all), compare_sections);
	for (size_t i = 0, j; i < n; i = j) {
		for (j = i + 1; j < n && !compare_interface(&all[i], &all[j]);)
			j++;
		if (j - i > 1)
			check_group(p, all + i, j - i);
	}
	free(all);
}

static int compare_errors(const void *pa, const void *pb)
{
	const struct config_error *a = pa, *b = pb;
	int d = 0;

	if (!a->file || !b->file)
		return (a->file != NULL) - (b->file != NULL);
	d = strcmp(a->file, b->file);
	if (!d)
		d = compare_number(a->line, b->line);
	return d ? d : compare_number(a->column, b->column);
}

void config_check(struct parser *p)
{
	struct config *c = p->c;

	sections_finish(c);
	check_servers(p);
	check_lines_check(p);
	source_check(p);
	server_ways_check(p);
	intercept_check(p);
	check_places(p);
	check_sockets(p);
	check_duplicates(p);
	openings_check(p);
	called_check(p);
	if (c->standalone && c->n_services == 0 && p->last.file && !(p->errors->n && p->puzzled_globally))
		parse_error_at(p, &p->last, "no port is opened: a \"port\" and a \"server\" line are missing");
	check_home(p);
	if (p->errors->n)
		qsort(p->errors->list, p->errors->n, sizeof(*p->errors->list), compare_errors);
	if (c->warnings.n)
		qsort(c->warnings.list, c->warnings.n, sizeof(*c->warnings.list), compare_errors);
}
