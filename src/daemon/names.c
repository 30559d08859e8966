#include "daemon/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

#define TTL_FLOOR_S   1
#define TTL_CEILING_S 86400
#define RETRY_MAX_MS  30000

struct name {
	struct names *names;
	struct target *target;
	char *host;
	struct timer timer;
	int64_t retry_ms;   /* after the next failure */
	bool wanted;        /* by the present configuration */
	bool asking;
	bool told;          /* the log knows that it does not resolve */
};

struct names {
	struct loop *loop;
	struct targets *targets;
	struct resolver *resolver;
	struct addr *servers; /* name servers of the configuration */
	size_t n_servers;
	void (*changed)(void *arg);
	void *arg;
	struct name **list;   /* by index of the target; NULL: needs no looking up */
};

static void ask(void *arg);

static void ask_later(struct name *n, int64_t delay_ms)
{
	timer_set(n->names->loop, &n->timer, n->names->loop->now_ms + delay_ms, ask, n);
}

static bool same_addrs(const struct target *t, const struct resolve_result *r)
{
	struct addr old[TARGET_ADDRS];
	size_t n = target_addrs(t, old);

	if (n != (r->n > TARGET_ADDRS ? TARGET_ADDRS : r->n))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!addr_same_host(&old[i], &r->addrs[i]))
			return false;
	return true;
}

static void found(struct name *n, const struct resolve_result *r)
{
	uint32_t ttl = r->ttl_s < TTL_FLOOR_S ? TTL_FLOOR_S : r->ttl_s;

	if (n->told)
		log_info("the server name %s resolves again", n->host);
	n->told = false;
	n->retry_ms = 1000;
	ask_later(n, 1000LL * (ttl > TTL_CEILING_S ? TTL_CEILING_S : ttl));
	if (same_addrs(n->target, r))
		return;
	target_set_addrs(n->target, r->addrs, r->n);
	n->names->changed(n->names->arg);
}

static void not_found(struct name *n, const struct resolve_result *r)
{
	bool has_old = atomic_load(&n->target->state) == TARGET_RESOLVED;
	bool first = atomic_load(&n->target->state) == TARGET_UNKNOWN;

	if (!n->told)
		log_error("looking up the server name %s: %s: %s, trying again", n->host,
			  r->why ? r->why : "no address",
			  has_old ? "keeping its last addresses" : "its clients are refused");
	n->told = true;
	ask_later(n, n->retry_ms);
	n->retry_ms = n->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : n->retry_ms * 2;
	target_set_addrs(n->target, NULL, 0);
	if (first)
		n->names->changed(n->names->arg);
}

static void answered(void *arg, const struct resolve_result *r)
{
	struct name *n = arg;

	n->asking = false;
	if (!n->wanted)
		return;
	if (r->error == 0 && r->n > 0)
		found(n, r);
	else
		not_found(n, r);
}

static void ask(void *arg)
{
	struct name *n = arg;

	if (n->asking || !n->wanted)
		return;
	n->asking = true;
	resolve_host(n->names->resolver, n->host, answered, n);
}

int names_new(struct loop *l, struct targets *targets, void (*changed)(void *arg), void *arg,
	      struct names **ret)
{
	struct names *n = mem_alloc(sizeof(*n));

	*n = (struct names){.loop = l, .targets = targets, .changed = changed, .arg = arg};
	n->list = mem_alloc(TARGETS_MAX * sizeof(*n->list));
	*ret = n;
	return 0;
}

void names_free(struct names *n)
{
	if (!n)
		return;
	resolver_free(n->resolver);
	for (uint32_t i = 0; i < TARGETS_MAX; i++) {
		if (!n->list[i])
			continue;
		timer_clear(n->loop, &n->list[i]->timer);
		free(n->list[i]->host);
		free(n->list[i]);
	}
	free(n->list);
	free(n->servers);
	free(n);
}

static int want(struct names *n, const struct server *s)
{
	uint32_t i = targets_add(n->targets, s);
	struct name *name;

	if (i == TARGET_NONE) {
		log_error("too many different servers: %s is not served", s->key);
		return -ENOSPC;
	}
	if (s->kind != SERVER_HOST || s->addr.family != AF_UNSPEC)
		return 0;
	if (!n->list[i]) {
		name = mem_alloc(sizeof(*name));
		*name = (struct name){.names = n,
				      .target = &n->targets->list[i],
				      .host = mem_strdup(s->host),
				      .retry_ms = 1000};
		n->list[i] = name;
	}
	n->list[i]->wanted = true;
	return 0;
}

static bool same_servers(const struct names *n, const struct config *c)
{
	return n->resolver && n->n_servers == c->n_resolvers &&
	       (c->n_resolvers == 0 ||
		memcmp(n->servers, c->resolvers, c->n_resolvers * sizeof(*c->resolvers)) == 0);
}

/* Other name servers: the questions under way are asked again of the new ones. */
static int set_servers(struct names *n, const struct config *c)
{
	struct resolver *fresh;
	int rc;

	if (same_servers(n, c))
		return 0;
	rc = resolver_new(n->loop, c->resolvers, c->n_resolvers, &fresh);
	if (rc < 0)
		return rc;
	resolver_free(n->resolver);
	n->resolver = fresh;
	free(n->servers);
	n->n_servers = c->n_resolvers;
	n->servers = mem_alloc(c->n_resolvers * sizeof(*n->servers) + 1);
	if (c->n_resolvers > 0)
		memcpy(n->servers, c->resolvers, c->n_resolvers * sizeof(*n->servers));
	for (uint32_t i = 0; i < TARGETS_MAX; i++)
		if (n->list[i])
			n->list[i]->asking = false;
	return 0;
}

int names_set_config(struct names *n, const struct config *c)
{
	int rc = set_servers(n, c);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < TARGETS_MAX; i++)
		if (n->list[i])
			n->list[i]->wanted = false;
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++)
			want(n, &c->sections[i].servers[k]);
	for (uint32_t i = 0; i < TARGETS_MAX; i++) {
		struct name *name = n->list[i];

		if (name && name->wanted && !name->asking && !name->timer.place)
			ask(name);
		else if (name && !name->wanted)
			timer_clear(n->loop, &name->timer);
	}
	return 0;
}
