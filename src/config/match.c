/* match.c - which section serves a connection, and which clients it lets in. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "config/openings.h"

/* How exactly a section fits a local address; 0: not at all. */
enum { FIT_NONE, FIT_SERVICE, FIT_ANY_ADDRESS, FIT_NAME, FIT_NETWORK, FIT_ADDRESS = 1000 };

static bool has_port(const struct service *service, uint16_t port)
{
	for (size_t i = 0; i < service->n_ports; i++) {
		if (service->ports[i].first <= port && port <= service->ports[i].last)
			return true;
	}
	return false;
}

bool service_has_port(const struct service *service, uint16_t port)
{
	return (!service->place || service->intercept) && has_port(service, port);
}

bool service_listens_at(const struct service *service, const struct addr *local)
{
	return service->place == addr_place(local) &&
	       (service->listen != LISTEN_PORTS || service->intercept || has_port(service, local->port));
}

uint64_t config_section_number(const struct config *c, const struct section *s)
{
	char net[ADDR_TEXT_MAX];
	const struct section *at = opening_outer(c, s);
	struct buf what = BUF_INIT;
	uint64_t ret;

	buf_addf(&what, "%u %d %s %s", c->services[s->service].number, (int)at->kind,
	         at->kind == INTERFACE_NAME ? at->name : "",
	         at->kind == INTERFACE_NONE || at->kind == INTERFACE_NAME
	                 ? ""
	                 : cidr_format_zone(&at->net, config_zone(c, at->zone), net));
	if (s->opening.kind)
		opening_print(s, &what);
	ret = hash_bytes(HASH_START, what.s, what.len) << 1;
	buf_release(&what);
	return ret ? ret : 2;
}

bool section_serves(const struct config *c, const struct section *s)
{
	const struct section *root = &c->sections[c->services[s->service].root];

	return s->has_pool || s->n_openings > 0 || (s->kind != INTERFACE_NONE && root->n_openings > 0);
}

static bool name_has(const char *name, const struct addr *a, const struct interface_address *ifs, size_t n_ifs)
{
	for (size_t i = 0; i < n_ifs; i++) {
		if (!strcmp(ifs[i].name, name) && addr_same_host(&ifs[i].addr, a))
			return true;
	}
	return false;
}

static unsigned int section_fit(const struct section *s, const struct addr *local, const struct interface_address *ifs,
                                size_t n_ifs)
{
	switch (s->kind) {
	case INTERFACE_NONE:
		return FIT_SERVICE;
	case INTERFACE_ADDRESS:
		if (addr_is_wildcard(&s->net.net))
			return s->net.net.family == local->family ? FIT_ANY_ADDRESS : FIT_NONE;
		return addr_same_host(&s->net.net, local) ? FIT_ADDRESS : FIT_NONE;
	case INTERFACE_NETWORK:
		return cidr_contains(&s->net, local) ? FIT_NETWORK + s->net.bits : FIT_NONE;
	case INTERFACE_NAME:
		return name_has(s->name, local, ifs, n_ifs) ? FIT_NAME : FIT_NONE;
	}
	return FIT_NONE;
}

const struct section *config_find(const struct config *c, const struct addr *local, const struct interface_address *ifs,
                                  size_t n_ifs)
{
	const struct section *best = NULL;
	unsigned int best_fit = FIT_NONE;
	struct addr there = *local;

	if (addr_place(local))
		there.scope = 0;
	for (size_t i = 0; i < c->n_services; i++) {
		const struct service *service = &c->services[i];

		if (!service_listens_at(service, local))
			continue;
		/* The service's own section stands right before its interface sections. */
		for (size_t j = 0; j <= service->n_sections; j++) {
			const struct section *s = &c->sections[service->root + j];
			unsigned int fit = section_fit(s, &there, ifs, n_ifs);

			if (fit > best_fit && !s->opening.kind && section_serves(c, s)) {
				best = s;
				best_fit = fit;
			}
		}
	}
	return best;
}

/* Can a connection that comes to an address of this family be its? */
static bool is_of_family(const struct section *s, uint16_t family)
{
	return s->kind == INTERFACE_NONE || s->kind == INTERFACE_NAME || s->net.net.family == family;
}

size_t config_sections_at(const struct config *c, const struct addr *local, const struct interface_address *ifs,
                          size_t n_ifs, const struct section ***ret)
{
	const struct section *one = addr_is_wildcard(local) ? NULL : config_find(c, local, ifs, n_ifs);
	size_t n = 0;

	*ret = mem_alloc((c->n_sections + 1) * sizeof(**ret));
	if (one)
		n = openings_all(c, one, *ret);
	for (size_t i = 0; i < c->n_sections && addr_is_wildcard(local); i++) {
		const struct section *s = &c->sections[i];

		if (s->has_pool && service_listens_at(&c->services[s->service], local) &&
		    is_of_family(opening_outer(c, s), local->family))
			(*ret)[n++] = s;
	}
	return n;
}

struct access_verdict access_check(const struct access_list *l, const struct addr *client)
{
	if (client->family == AF_UNIX) /* the rights of the socket's file are its list */
		return (struct access_verdict){true, NULL};
	for (size_t i = 0; i < l->n; i++) {
		const struct access_rule *r = &l->rules[i];

		if (r->net.net.family == AF_UNSPEC || cidr_contains(&r->net, client))
			return (struct access_verdict){r->allow, r};
	}
	return (struct access_verdict){!l->any_allow, NULL};
}

size_t config_ports(const struct config *c, uint16_t **ret)
{
	bool *seen = mem_alloc(65536 * sizeof(*seen));
	size_t n = 0;

	for (size_t i = 0; i < c->n_services; i++) {
		const struct service *service = &c->services[i];

		for (size_t j = 0; j < service->n_ports && !service->place; j++) {
			for (uint32_t p = service->ports[j].first; p <= service->ports[j].last; p++)
				seen[p] = true;
		}
	}
	*ret = mem_alloc(65536 * sizeof(**ret));
	for (uint32_t p = 1; p < 65536; p++) {
		if (seen[p])
			(*ret)[n++] = (uint16_t)p;
	}
	free(seen);
	return n;
}

/* ---- what must be bound ---- */

struct binds {
	struct addr *list;
	size_t n, room;
};

static void bind_one(struct binds *b, const struct addr *a)
{
	if (b->n == b->room) {
		b->room = b->room ? b->room * 2 : 16;
		b->list = mem_resize(b->list, b->room, sizeof(*b->list));
	}
	b->list[b->n++] = *a;
}

static void bind_add(struct binds *b, const struct service *service, struct addr a)
{
	if (service->place)
		a.scope = service->place;
	for (size_t i = 0; i < service->n_ports; i++) {
		for (uint32_t p = service->ports[i].first; p <= service->ports[i].last; p++) {
			a.port = (uint16_t)p;
			bind_one(b, &a);
		}
	}
}

static void bind_section(struct binds *b, const struct service *service, const struct section *s,
                         const struct interface_address *ifs, size_t n_ifs)
{
	if (s->kind == INTERFACE_ADDRESS) {
		if (s->net.net.scope != ADDR_NO_SCOPE) /* its link is not there */
			bind_add(b, service, s->net.net);
		return;
	}
	for (size_t i = 0; i < n_ifs; i++) {
		bool match = s->kind == INTERFACE_NAME ? !strcmp(ifs[i].name, s->name)
		                                       : cidr_contains(&s->net, &ifs[i].addr);

		if (match)
			bind_add(b, service, ifs[i].addr);
	}
}

/* By port, then by family, a wildcard first. */
static int compare_binds(const void *pa, const void *pb)
{
	const struct addr *a = pa, *b = pb;

	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	if (a->family != b->family)
		return a->family < b->family ? 1 : -1;
	if (a->scope != b->scope)
		return a->scope < b->scope ? -1 : 1;
	return memcmp(a->ip, b->ip, sizeof(a->ip));
}

/* One of each; and a wildcard listens for every address of its family. */
static size_t binds_unique(struct addr *list, size_t n)
{
	const struct addr *wildcard = NULL;
	size_t kept = 0;

	if (n)
		qsort(list, n, sizeof(*list), compare_binds);
	for (size_t i = 0; i < n; i++) {
		const struct addr *last = kept ? &list[kept - 1] : NULL;

		if (wildcard && wildcard->port == list[i].port && wildcard->family == list[i].family &&
		    addr_place(wildcard) == addr_place(&list[i]))
			continue;
		if (last && !compare_binds(last, &list[i]))
			continue;
		list[kept] = list[i];
		if (addr_is_wildcard(&list[kept]))
			wildcard = &list[kept];
		kept++;
	}
	return kept;
}

size_t config_binds(const struct config *c, const struct interface_address *ifs, size_t n_ifs, struct addr **ret)
{
	struct binds b = {0};

	for (size_t i = 0; i < c->n_services; i++) {
		const struct service *service = &c->services[i];

		if (service->listen == LISTEN_UNIX)
			bind_one(&b, &(struct addr){.family = AF_UNIX, .scope = service->place});
		if (service->wildcard) {
			bind_add(&b, service, (struct addr){.family = AF_INET6});
			bind_add(&b, service, (struct addr){.family = AF_INET});
		}
		for (size_t j = 0; j < service->n_sections; j++)
			if (!c->sections[service->first_section + j].opening.kind && !service->intercept)
				bind_section(&b, service, &c->sections[service->first_section + j], ifs, n_ifs);
	}
	*ret = b.list;
	return binds_unique(b.list, b.n);
}
