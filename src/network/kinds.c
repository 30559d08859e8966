#include "network/kinds.h"

#include <string.h>
#include <sys/socket.h>

struct kinds {
	struct blank_kind *list;
	size_t n;
};

static void add(struct kinds *k, bool transparent, uint32_t mark, uint32_t netns)
{
	for (int six = 0; six < 2; six++) {
		const struct blank_kind kind = {
		        .family = six ? AF_INET6 : AF_INET, .transparent = transparent, .mark = mark, .netns = netns};
		size_t i = 0;

		while (i < k->n && i < BLANK_KINDS_MAX && memcmp(&k->list[i], &kind, sizeof(kind)) != 0)
			i++;
		if (i == k->n || i == BLANK_KINDS_MAX) {
			if (k->n < BLANK_KINDS_MAX)
				k->list[k->n] = kind;
			k->n++;
		}
	}
}

/* For servers in this namespace. */
static void add_way(struct kinds *k, const struct config *c, const struct section *s, const char *netns)
{
	if (s->source_client != SOURCE_CLIENT_NO) {
		add(k, true, s->mark, netns_id(netns));
		if (!netns) /* where servers of another one are it does not matter */
			add(k, true, s->mark | c->routes.mark, 0);
	}
	if (s->mark || netns) /* also of those that do not call as the client after all */
		add(k, false, s->mark, netns_id(netns));
}

size_t kinds_of(const struct config *c, struct blank_kind *ret)
{
	struct kinds k = {.list = ret};

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		if (!s->has_pool)
			continue;
		add_way(&k, c, s, s->netns); /* also for servers that come later */
		for (size_t n = 0; n < s->n_servers; n++)
			if (s->servers[n].netns)
				add_way(&k, c, s, server_netns(s, &s->servers[n]));
	}
	/* for a reload that opens further ports there */
	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].netns)
			add(&k, false, 0, netns_id(c->services[i].netns));
	/* nobody takes them: that somebody could tells the process how long the rules are needed */
	if (config_intercepts(c) && !c->routes.by_hand)
		add(&k, false, 0, 0);
	return k.n;
}
