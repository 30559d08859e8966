#include "stats/snapshot.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "base/text.h"

struct snapshot *snapshot_new(void)
{
	return mem_alloc(sizeof(struct snapshot));
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_services; i++)
		free(s->services[i].counted);
	for (size_t i = 0; i < s->n_servers; i++)
		free(s->servers[i].counted);
	for (size_t i = 0; i < s->n_kept; i++)
		free(s->kept[i]);
	free(s->services);
	free(s->servers);
	free(s->members);
	free(s->workers);
	free(s->connections);
	free(s->kept);
	free(s);
}

const char *snapshot_keep(struct snapshot *s, const char *text, size_t len)
{
	if (s->n_kept % 64 == 0)
		s->kept = mem_resize(s->kept, s->n_kept + 64, sizeof(*s->kept));
	s->kept[s->n_kept] = mem_strndup(text, len);
	return s->kept[s->n_kept++];
}

/* ---- which ---- */

static const char *client_word(const char *value, struct cidr *ret, uint16_t *ret_port)
{
	char host[ADDR_TEXT_MAX];
	const char *colon = strrchr(value, ':');
	size_t len = colon ? (size_t)(colon - value) : 0;
	uint64_t port;

	if (cidr_parse(value, ret))
		return NULL;
	if (!colon || len >= sizeof(host) || !text_parse_uint(colon + 1, 65535, &port))
		return "is no client: write ADDRESS, NETWORK/BITS, ADDRESS:PORT or [ADDRESS]:PORT";
	memcpy(host, value, len);
	host[len] = '\0';
	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		memmove(host, host + 1, len - 2);
		host[len - 2] = '\0';
	}
	if (!cidr_parse(host, ret))
		return "is no client: write ADDRESS, NETWORK/BITS, ADDRESS:PORT or [ADDRESS]:PORT";
	*ret_port = (uint16_t)port;
	return NULL;
}

static const char *service_word(struct connection_filter *f, const char *value)
{
	uint64_t port;

	if (!*value)
		return "names no service: write its name or its port";
	if (value[strspn(value, "0123456789")]) {
		f->service = value;
		return NULL;
	}
	if (!text_parse_uint(value, 65535, &port) || port == 0)
		return "is no service: write its name or its port";
	f->port = (uint16_t)port;
	return NULL;
}

static const char *after(const char *word, const char *key)
{
	size_t len = strlen(key);

	if (strncmp(word, "--", 2) == 0)
		word += 2;
	return strncmp(word, key, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

const char *connection_filter_word(struct connection_filter *f, const char *word)
{
	const char *value;

	if ((value = after(word, "service")) || (value = after(word, "port")))
		return service_word(f, value);
	if ((value = after(word, "client")))
		return client_word(value, &f->client, &f->client_port);
	if ((value = after(word, "via")))
		return client_word(value, &f->via, &f->via_port);
	if ((value = after(word, "server"))) {
		f->server = value;
		return NULL;
	}
	if ((value = after(word, "sni"))) {
		f->sni = value;
		return NULL;
	}
	if ((value = after(word, "state"))) {
		f->state = value;
		return NULL;
	}
	if ((value = after(word, "id")))
		word = value;
	if (text_parse_uint(word, UINT64_MAX, &f->id) && f->id > 0)
		return NULL;
	return "is neither an id nor a filter: service=NAME|PORT, client=ADDRESS, via=ADDRESS, "
	       "server=NAME|HOST:PORT, sni=NAME, state=STATE";
}

static bool same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

static bool service_matches(const char *wanted, const struct connection_view *c)
{
	return same(wanted, c->service) || same(wanted, c->within);
}

/* "mail/db1" */
static bool is_in_service(const char *wanted, const struct connection_view *c)
{
	const char *slash = strchr(wanted, '/');
	size_t len = slash ? (size_t)(slash - wanted) : 0;

	return slash && same(slash + 1, c->server) &&
	       ((strlen(c->service) == len && memcmp(c->service, wanted, len) == 0) ||
	        (c->within && strlen(c->within) == len && memcmp(c->within, wanted, len) == 0));
}

static bool server_matches(const char *wanted, const struct connection_view *c)
{
	char text[ADDR_TEXT_MAX];

	if (!c->server)
		return false;
	return same(wanted, c->server) || same(wanted, c->spelt) || same(wanted, c->server_of) ||
	       is_in_service(wanted, c) ||
	       (c->server_addr.family != AF_UNSPEC && strcmp(wanted, addr_format_port(&c->server_addr, text)) == 0);
}

static bool comes_from(const struct cidr *net, uint16_t port, const struct addr *a)
{
	return (net->net.family == AF_UNSPEC || cidr_contains(net, a)) && (!port || port == a->port);
}

bool connection_matches(const struct connection_filter *f, const struct connection_view *c)
{
	return (!f->id || f->id == c->id) && (!f->port || f->port == c->local.port) &&
	       (!f->service || service_matches(f->service, c)) && comes_from(&f->client, f->client_port, &c->client) &&
	       comes_from(&f->via, f->via_port, &c->via) && (!f->server || server_matches(f->server, c)) &&
	       (!f->sni || (c->sni && strcasecmp(f->sni, c->sni) == 0)) &&
	       (!f->state || strcmp(f->state, c->state) == 0);
}

/* ---- is there anything of that name? ---- */

static bool has_service(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->n_services; i++)
		if (same(name, s->services[i].label) || same(name, s->services[i].ports))
			return true;
	return false;
}

static bool has_server(const struct snapshot *s, const char *name)
{
	const char *slash = strchr(name, '/');

	for (size_t i = 0; i < s->n_servers; i++) {
		const struct server_view *v = &s->servers[i];

		if (same(name, v->label) || same(name, v->spelt) || same(name, v->name) || same(name, v->of) ||
		    (slash && same(slash + 1, v->name)))
			return true;
	}
	return false;
}

/* "10.0.0.9:25", "[::1]:25": a server may have an address that the file does not spell. */
static bool is_address(const char *text)
{
	struct connection_filter as_client = {0};

	return !client_word(text, &as_client.client, &as_client.client_port) && as_client.client_port;
}

bool connection_filter_known(const struct connection_filter *f, const struct snapshot *s, struct buf *why)
{
	if (f->service && !has_service(s, f->service)) {
		buf_addf(why, "there is no service \"%s\" (see status)", f->service);
		return false;
	}
	if (f->server && !is_address(f->server) && !has_server(s, f->server)) {
		buf_addf(why, "there is no server \"%s\" (see status)", f->server);
		return false;
	}
	return true;
}

void snapshot_select(struct snapshot *s, const struct connection_filter *f)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_connections; i++)
		if (connection_matches(f, &s->connections[i]))
			s->connections[n++] = s->connections[i];
	s->n_connections = n;
}

/* "25,8000-8010" has 8005. */
static bool has_port(const char *ports, uint64_t port)
{
	while (isdigit((unsigned char)*ports)) {
		char *end;
		uint64_t first = strtoull(ports, &end, 10), last = *end == '-' ? strtoull(end + 1, &end, 10) : first;

		if (port >= first && port <= last)
			return true;
		ports = end + strcspn(end, ",");
		ports += *ports == ',';
	}
	return false;
}

static bool is_of(const struct member_view *v, const char *service)
{
	uint64_t port;

	if (text_parse_uint(service, 65535, &port))
		return has_port(v->ports, port);
	return same(service, v->service) || same(service, v->within) || same(service, v->ports);
}

bool snapshot_select_members(struct snapshot *s, const char *service)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_members; i++)
		if (is_of(&s->members[i], service))
			s->members[n++] = s->members[i];
	s->n_members = n;
	return n > 0;
}

/* ---- in which order ---- */

static int by_number(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_id(const void *a, const void *b)
{
	return by_number(((const struct connection_view *)a)->id, ((const struct connection_view *)b)->id);
}

/* The larger first, by a number; equal ones by their ids, so that a list that is looked at again
 * and again stays still. */
#define BY(name, expression)                                       \
	static uint64_t name##_of(const struct connection_view *c) \
	{                                                          \
		return (uint64_t)(expression);                     \
	}                                                          \
	static int by_##name(const void *a, const void *b)         \
	{                                                          \
		int d = by_number(name##_of(b), name##_of(a));     \
		return d ? d : by_id(a, b);                        \
	}
BY(age, c->age_us)
BY(up, c->up)
BY(down, c->down)
BY(rate, c->rate_up + c->rate_down)
BY(rtt, c->tcp[0].rtt_us > c->tcp[1].rtt_us ? c->tcp[0].rtt_us : c->tcp[1].rtt_us)
BY(retransmits, (uint64_t)c->tcp[0].retransmits + c->tcp[1].retransmits)

static int by_text(const char *x, const char *y, const void *a, const void *b)
{
	int d = strcmp(x ? x : "", y ? y : "");

	return d ? d : by_id(a, b);
}

static int by_service(const void *a, const void *b)
{
	const struct connection_view *x = a, *y = b;
	int d = by_number(x->local.port, y->local.port);

	return d ? d : by_text(x->service, y->service, a, b);
}

static int by_client(const void *a, const void *b)
{
	const struct connection_view *x = a, *y = b;
	int d = by_number(x->client.family, y->client.family);

	if (!d)
		d = memcmp(x->client.ip, y->client.ip, sizeof(x->client.ip));
	if (!d)
		d = by_number(x->client.port, y->client.port);
	return d ? d : by_id(a, b);
}

static int by_server(const void *a, const void *b)
{
	return by_text(((const struct connection_view *)a)->server, ((const struct connection_view *)b)->server, a, b);
}

static int by_state(const void *a, const void *b)
{
	return by_text(((const struct connection_view *)a)->state, ((const struct connection_view *)b)->state, a, b);
}

static const struct order {
	const char *word;
	int (*compare)(const void *a, const void *b);
} orders[] = {
        {"id", by_id},
        {"service", by_service},
        {"client", by_client},
        {"server", by_server},
        {"state", by_state},
        {"age", by_age},
        {"up", by_up},
        {"down", by_down},
        {"rate", by_rate},
        {"rtt", by_rtt},
        {"retransmits", by_retransmits},
};

bool snapshot_sort(struct snapshot *s, const char *by)
{
	for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
		if (strcmp(orders[i].word, by) != 0)
			continue;
		if (s->n_connections > 1)
			qsort(s->connections, s->n_connections, sizeof(*s->connections), orders[i].compare);
		return true;
	}
	return false;
}

const char *snapshot_sort_words(void)
{
	return "id, service, client, server, state, age, up, down, rate, rtt, retransmits";
}
