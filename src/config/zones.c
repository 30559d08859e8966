/* zones.c - addresses of one link: the interface after their %, which may come and go. */
#include <string.h>

#include "base/mem.h"
#include "config/parser.h"

const char *config_zone(const struct config *c, uint16_t zone)
{
	return zone ? c->zones[zone - 1].name : NULL;
}

/* ---- noted when the text is read ---- */

/* The number of this zone. False: there are too many. */
static bool zone_number(struct config *c, const char *name, uint16_t *ret)
{
	size_t i = 0;

	*ret = 0;
	if (!*name)
		return true;
	while (i < c->n_zones && strcmp(c->zones[i].name, name))
		i++;
	if (i == UINT16_MAX)
		return false;
	if (i == c->n_zones) {
		c->zones = mem_resize(c->zones, ++c->n_zones, sizeof(*c->zones));
		c->zones[i].index = ADDR_NO_SCOPE;
		strcpy(c->zones[i].name, name);
	}
	*ret = (uint16_t)(i + 1);
	return true;
}

bool parse_address(struct parser *p, const char *text, struct addr *ret, uint16_t *ret_zone)
{
	char zone[ADDR_ZONE_MAX];

	return addr_parse_zone(text, ret, zone) && zone_number(p->c, zone, ret_zone);
}

bool parse_network(struct parser *p, const char *text, struct cidr *ret, uint16_t *ret_zone)
{
	char zone[ADDR_ZONE_MAX];

	return cidr_parse_zone(text, ret, zone) && zone_number(p->c, zone, ret_zone);
}

/* ---- looked at whenever it matters ---- */

static void put_index(const struct config *c, uint16_t zone, struct addr *a)
{
	if (zone)
		a->scope = c->zones[zone - 1].index;
}

static void put_list(const struct config *c, struct access_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		put_index(c, l->rules[i].zone, &l->rules[i].net.net);
}

/* What it shares with the outer one is done there. */
static void put_indexes(struct config *c, struct section *s)
{
	const struct section *outer = section_outer(c, s);

	put_index(c, s->zone, &s->net.net);
	put_index(c, s->source_zone, &s->source);
	for (size_t i = 0; i < s->n_servers && (!outer || s->servers != outer->servers); i++)
		put_index(c, s->servers[i].zone, &s->servers[i].addr);
	if (!outer || s->access.rules != outer->access.rules)
		put_list(c, &s->access);
	if (s->accept_proxy && (!outer || s->accept_proxy != outer->accept_proxy))
		put_list(c, &s->accept_proxy->from);
	for (size_t i = 0; i < s->n_checks && (!outer || s->checks != outer->checks); i++)
		put_index(c, s->checks[i].from_zone, &s->checks[i].from);
}

void config_look_at_zones(struct config *c, uint32_t (*index)(void *arg, const char *name), void *arg)
{
	bool changed = false;

	for (size_t i = 0; i < c->n_zones; i++) {
		struct zone *z = &c->zones[i];
		uint32_t now = index(arg, z->name);

		if (now == 0)
			now = ADDR_NO_SCOPE;
		changed |= now != z->index;
		z->index = now;
	}
	if (!changed)
		return;
	put_indexes(c, &c->global);
	for (size_t i = 0; i < c->n_sections; i++)
		put_indexes(c, &c->sections[i]);
	for (size_t i = 0; i < c->n_admins; i++)
		put_index(c, c->admins[i].zone, &c->admins[i].addr);
}
