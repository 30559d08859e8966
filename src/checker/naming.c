#include "checker/naming.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

/* ---- what the supervisor is told ---- */

static void naming_named(void *arg, const struct named *answer)
{
	struct naming *n = arg;
	struct wire w = {.type = WIRE_NAMED, .n = (uint32_t)answer->n};

	w.named.target = answer->target;
	w.named.more = answer->more;
	w.named.forget = answer->forget;
	if (answer->n > 0)
		memcpy(w.addrs, answer->addrs, answer->n * sizeof(*w.addrs));
	if (n->control->fd >= 0 && outbox_send(n->outbox, &w, NULL, 0) == -ENOBUFS)
		n->lost = true;
}

/* As much as can be sent now: a long one leaves room for the rest. */
static void tell_crowds(void *arg)
{
	struct naming *n = arg;
	struct wire w = {.type = WIRE_CROWD};
	int members = 0;

	while (n->control->fd >= 0 && outbox_is_empty(n->outbox) && members >= 0) {
		members = crowds_next(n->crowds, &w.crowd, &w.part);
		w.n = (uint32_t)members;
		if (members >= 0)
			outbox_send(n->outbox, &w, NULL, 0);
	}
}

void naming_go_on(struct naming *n)
{
	bool lost = n->lost;

	n->lost = false;
	if (lost && n->names)
		names_tell_again(n->names);
	if (n->crowds)
		tell_crowds(n);
}

/* ---- what is wanted ---- */

static bool is_ours(const struct source *s)
{
	return s->kind == SOURCE_EACH || s->kind == SOURCE_SERVICE;
}

static bool crowds_wanted(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_sources; k++)
			if (is_ours(&c->sections[i].sources[k]))
				return true;
	return false;
}

bool naming_wanted(const struct config *c)
{
	return names_wanted(c) || crowds_wanted(c);
}

/* Those that stand in the configuration now: somebody has asked for them. The caller frees them. */
static struct member *members_now(const struct section *s, uint32_t source, size_t *ret_n)
{
	struct member *list = mem_alloc((s->n_servers + 1) * sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < s->n_servers; i++) {
		const struct server *server = &s->servers[i];

		if (server->from != FROM_SOURCE || server->source != source)
			continue;
		list[n] = (struct member){.addr = server->addr};
		list[n].addr.port = s->sources[source].of.port;
		if (s->sources[source].kind == SOURCE_SERVICE) {
			list[n].addr.port = server->port;
			list[n].priority = server->priority;
			list[n].weight = (uint16_t)server->weight;
		}
		n++;
	}
	*ret_n = crowd_sort(list, n);
	return list;
}

static void want(struct naming *n, const struct section *s, uint32_t number)
{
	const struct source *source = &s->sources[number];
	size_t n_known;
	struct member *known = members_now(s, number, &n_known);

	crowds_want(n->crowds, &(struct crowd_setup){.line = source->line,
	                                             .name = source->of.host,
	                                             .is_service = source->kind == SOURCE_SERVICE,
	                                             .port = source->of.port,
	                                             .known = known,
	                                             .n_known = n_known});
	free(known);
}

static void take_crowds(struct naming *n, const struct config *c, bool again)
{
	const struct crowd_times times = {.ttl_min_ms = c->name_ttl_min_ms,
	                                  .ttl_max_ms = c->name_ttl_max_ms,
	                                  .known = {.hold_ms = c->name_hold_ms, .keep_ms = c->name_keep_ms}};

	if (!n->crowds && !crowds_wanted(c))
		return;
	if (!n->crowds)
		n->crowds = crowds_new(&(struct crowds_setup){
		        .loop = n->loop, .resolver = names_resolver(n->names), .untold = tell_crowds, .arg = n});
	crowds_begin(n->crowds, &times);
	for (size_t i = 0; i < c->n_sections; i++)
		for (uint32_t k = 0; k < c->sections[i].n_sources; k++)
			if (is_ours(&c->sections[i].sources[k]))
				want(n, &c->sections[i], k);
	crowds_end(n->crowds, again);
}

void naming_take(struct naming *n, const struct config *c)
{
	const struct names_ops ops = {.arg = n, .named = naming_named};
	int rc = 0;

	if (!n->names && naming_wanted(c))
		rc = names_new(n->loop, n->world, &ops, &n->names);
	if (rc == 0 && n->names)
		rc = names_set_config(n->names, c);
	if (rc < 0)
		log_error("names of servers cannot be looked up: %s", strerror(-rc));
	else if (n->names)
		take_crowds(n, c, rc > 0);
}

struct resolve_counts naming_counts(const struct naming *n)
{
	return n->names ? resolver_counts(names_resolver(n->names)) : (struct resolve_counts){0};
}
