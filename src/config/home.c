/*
 * home.c - servers that are ourselves. A port that leads to itself alone is of no use, and its first client would take all
 * places: each of its connections brings another one. So that is an error. A server that is another port of ours is said
 * to be one: that may be meant.
 */
#include "config/home.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "config/parser.h"

/* ---- what is ours ---- */

/* By family, then by address. */
static int compare_hosts(const void *pa, const void *pb)
{
	const struct addr *a = pa, *b = pb;

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->ip, b->ip, sizeof(a->ip));
}

static void note_ports(struct home *h, const struct service *service)
{
	for (size_t i = 0; i < service->n_ports && !service->place; i++)
		for (uint32_t p = service->ports[i].first; p <= service->ports[i].last; p++)
			h->ports[p / 64] |= UINT64_C(1) << p % 64;
}

static void note_addresses(struct home *h, const struct interface_address *ifs, size_t n_ifs)
{
	free(h->addrs);
	h->addrs = mem_alloc(n_ifs * sizeof(*h->addrs));
	h->n = n_ifs;
	for (size_t i = 0; i < n_ifs; i++)
		h->addrs[i] = ifs[i].addr;
	if (n_ifs)
		qsort(h->addrs, n_ifs, sizeof(*h->addrs), compare_hosts);
}

void home_init(struct home *h, const struct config *c, const struct interface_address *ifs, size_t n_ifs)
{
	for (size_t i = 0; i < c->n_services; i++)
		note_ports(h, &c->services[i]);
	note_addresses(h, ifs, n_ifs);
}

void home_release(struct home *h)
{
	free(h->addrs);
	*h = (struct home){.n = 0};
}

bool home_has_port(const struct home *h, uint16_t port)
{
	return h->ports[port / 64] >> port % 64 & 1;
}

bool home_has_address(const struct home *h, const struct addr *a)
{
	return addr_is_loopback(a) || (h->n && bsearch(a, h->addrs, h->n, sizeof(*h->addrs), compare_hosts));
}

/* Without a port of its own it is called at one that is ours. */
bool home_may_be(const struct home *h, const struct server *s)
{
	return s->kind == SERVER_HOST && (!s->port || home_has_port(h, s->port));
}

/* ---- where a server leads ---- */

/* Calling it may end here; a bit for each that is possible. */
enum lead { LEADS_AWAY = 1, LEADS_TO_SECTION = 2, LEADS_TO_SERVICE = 4, LEADS_TO_ANOTHER = 8 };

struct ways {
	unsigned int leads;
	const struct section *other; /* the first one that was found */
};

struct looker {
	struct parser *p;
	struct home home;
	struct interface_address *ifs;
	size_t n_ifs;
	bool *told;  /* of each place */
	bool errors; /* there are others: what is missing may stand in a line that was not understood */
};

static bool is_localhost(const char *name)
{
	return name && (!strcasecmp(name, "localhost") || !strcasecmp(name, "localhost."));
}

/* What connect() makes of the wildcard. */
static struct addr where_it_connects(struct addr a)
{
	static const struct addr four = {.family = AF_INET, .ip = {127, 0, 0, 1}};
	static const struct addr six = {.family = AF_INET6, .ip = {[15] = 1}};

	if (!addr_is_wildcard(&a))
		return a;
	return a.family == AF_INET ? four : six;
}

/* Whether this name is called by both families is said by the addresses of the loopback interface. */
static size_t localhosts(const struct looker *l, struct addr ret[2])
{
	size_t n = 0;

	for (size_t i = 0; i < l->n_ifs && n < 2; i++)
		if (addr_is_loopback(&l->ifs[i].addr) && (!n || ret[0].family != l->ifs[i].addr.family))
			ret[n++] = l->ifs[i].addr;
	return n;
}

static size_t addresses_of(const struct looker *l, const struct server *s, struct addr ret[2])
{
	if (s->addr.family != AF_UNSPEC) {
		ret[0] = where_it_connects(s->addr);
		return 1;
	}
	return is_localhost(s->host) ? localhosts(l, ret) : 0;
}

static void follow(const struct looker *l, const struct section *from, struct addr to, struct ways *ways)
{
	const struct section *s = NULL;

	if (home_has_port(&l->home, to.port) && home_has_address(&l->home, &to))
		s = config_find(l->p->c, &to, l->ifs, l->n_ifs);
	if (!s) {
		ways->leads |= LEADS_AWAY;
	} else if (s == from) {
		ways->leads |= LEADS_TO_SECTION;
	} else {
		ways->leads |= s->service == from->service ? LEADS_TO_SERVICE : LEADS_TO_ANOTHER;
		ways->other = ways->other ? ways->other : s;
	}
}

/* At each port on which a client may have been accepted, if the server has none of its own. */
static struct ways ways_of(const struct looker *l, const struct section *from, const struct server *s)
{
	const struct service *service = &l->p->c->services[from->service];
	struct ways ways = {0};
	struct addr to[2];
	size_t n = addresses_of(l, s, to);

	for (size_t a = 0; a < n; a++) {
		if (s->port) {
			to[a].port = s->port;
			follow(l, from, to[a], &ways);
			continue;
		}
		for (size_t i = 0; i < service->n_ports; i++)
			for (uint32_t p = service->ports[i].first; p <= service->ports[i].last; p++) {
				to[a].port = (uint16_t)p;
				follow(l, from, to[a], &ways);
			}
	}
	if (!n)
		ways.leads = LEADS_AWAY;
	return ways;
}

/* ---- what is said about it ---- */

/* Once about a line, though several sections may have it in common. */
static bool tell(const struct looker *l, const struct server *s)
{
	bool told = l->told[s->place];

	l->told[s->place] = true;
	return !told;
}

static void no_way_out(const struct looker *l, const struct section *section)
{
	const struct server *s = &section->servers[0];
	char shown[SHOWN_MAX];

	if (!tell(l, s))
		return;
	parse_error_at(l->p, &l->p->server_places[s->place],
	               "%s%s back to this port itself, so no client would ever reach a server: name the host and "
	               "port of the real one",
	               lex_show(s->key, shown), section->n_servers > 1 ? " and all other servers here lead" : " leads");
}

static void warn(const struct looker *l, const struct section *section, const struct server *s)
{
	struct ways ways = ways_of(l, section, s);
	const struct place *at = &l->p->server_places[s->place];
	char shown[SHOWN_MAX];

	if (!(ways.leads & ~(unsigned int)LEADS_AWAY) || !tell(l, s))
		return;
	lex_show(s->key, shown);
	if (ways.other)
		parse_warning_at(
		        l->p, at,
		        "%s is a port of this tcpproxy itself (%s): its clients pass through both services, and "
		        "one that comes back to a service is reset",
		        shown, ways.other->origin);
	else
		parse_warning_at(l->p, at,
		                 "%s leads back to this port itself: a client that comes back to the same service is "
		                 "reset",
		                 shown);
}

/* Each section of a service, the service's own first. */
static const struct section *section_of(const struct config *c, const struct service *service, size_t i)
{
	return &c->sections[service->root + i];
}

/* All that the servers of a section lead to; 0: it has none. */
static unsigned int section_leads(const struct looker *l, const struct section *s)
{
	unsigned int leads = l->errors && l->p->puzzled[s->index] ? LEADS_AWAY : 0;

	for (size_t i = 0; i < s->n_servers; i++)
		leads |= ways_of(l, s, &s->servers[i]).leads;
	return leads;
}

static void look_at_service(const struct looker *l, const struct service *service)
{
	unsigned int all = 0;
	bool no_exit;

	for (size_t i = 0; i <= service->n_sections; i++)
		all |= section_leads(l, section_of(l->p->c, service, i));
	no_exit = !(all & (LEADS_AWAY | LEADS_TO_ANOTHER));
	for (size_t i = 0; i <= service->n_sections; i++) {
		const struct section *s = section_of(l->p->c, service, i);

		if (s->n_servers && (no_exit || section_leads(l, s) == LEADS_TO_SECTION))
			no_way_out(l, s);
		for (size_t k = 0; k < s->n_servers; k++)
			warn(l, s, &s->servers[k]);
	}
}

/* Mostly none is, and then the host's addresses need not be looked up. */
static bool any_may_be_home(const struct looker *l)
{
	const struct config *c = l->p->c;

	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++) {
			const struct server *s = &c->sections[i].servers[k];

			if (home_may_be(&l->home, s) && (s->addr.family != AF_UNSPEC || is_localhost(s->host)))
				return true;
		}
	return false;
}

void check_home(struct parser *p)
{
	const struct config_ops *world = p->world;
	struct looker l = {.p = p, .errors = p->errors->n > 0};

	/* without ports of our own other programs listen, and we do not know where */
	if (!world || !world->addresses || !p->c->standalone)
		return;
	home_init(&l.home, p->c, NULL, 0);
	if (any_may_be_home(&l)) {
		l.n_ifs = world->addresses(world->arg, &l.ifs);
		note_addresses(&l.home, l.ifs, l.n_ifs);
		l.told = mem_alloc(p->n_server_places * sizeof(*l.told));
		for (size_t i = 0; i < p->c->n_services; i++)
			look_at_service(&l, &p->c->services[i]);
		free(l.told);
		free(l.ifs);
	}
	home_release(&l.home);
}
