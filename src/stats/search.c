/* search.c - connections by any of their words, as a search box wants it. */
#include <stdio.h>
#include <string.h>
#include "stats/snapshot.h"

static bool has(const char *text, const char *word, size_t len)
{
	for (; text && *text; text++)
		if (strncasecmp(text, word, len) == 0)
			return true;
	return false;
}

static bool address_has(const struct addr *a, const char *word, size_t len)
{
	char text[ADDR_TEXT_MAX];

	return a->family != AF_UNSPEC && has(addr_format_port(a, text), word, len);
}

static bool matches(const struct connection_view *c, const char *word, size_t len)
{
	char id[24];

	snprintf(id, sizeof(id), "%llu", (unsigned long long)c->id);
	return address_has(&c->client, word, len) || address_has(&c->via, word, len) || has(c->name, word, len) ||
	       has(c->server, word, len) || has(c->spelt, word, len) || has(c->within, word, len) ||
	       address_has(&c->server_addr, word, len) || address_has(&c->local, word, len) ||
	       has(c->service, word, len) || has(c->state, word, len) || has(c->rule, word, len) ||
	       has(c->sni, word, len) || has(c->alpn, word, len) || has(c->protocol, word, len) ||
	       (strlen(id) == len && memcmp(id, word, len) == 0);
}

static bool matches_all(const struct connection_view *c, const char *words)
{
	while (*(words += strspn(words, " \t"))) {
		size_t len = strcspn(words, " \t");

		if (!matches(c, words, len))
			return false;
		words += len;
	}
	return true;
}

void snapshot_search(struct snapshot *s, const char *words)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_connections; i++)
		if (matches_all(&s->connections[i], words))
			s->connections[n++] = s->connections[i];
	s->n_connections = n;
}
