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

size_t kinds_of(const struct config *c, struct blank_kind *ret)
{
	struct kinds k = {.list = ret};

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		if (!s->has_pool)
			continue;
		if (s->source_client != SOURCE_CLIENT_NO) {
			add(&k, true, s->mark, section_netns_id(s));
			if (!s->netns) /* where servers of another one are it does not matter */
				add(&k, true, s->mark | c->routes.mark, 0);
		}
		if (s->mark || s->netns) /* also of those that do not call as the client after all */
			add(&k, false, s->mark, section_netns_id(s));
	}
	return k.n;
}
