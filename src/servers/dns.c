#include "servers/dns.h"

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
	int64_t retry_ms; /* after the next failure */
	bool wanted;      /* by the present configuration */
	bool asking;
	bool told; /* the log knows that it does not resolve */
};

struct names {
	struct loop *loop;
	struct world *world;
	struct resolver *resolver;
	void (*changed)(void *arg);
	void *arg;
	struct name **list; /* by index of the target; NULL: needs no looking up */
};

static void ask(void *arg);

static void ask_later(struct name *n, int64_t delay_ms)
{
	timer_set(n->names->loop, &n->timer, n->names->loop->now_ms + delay_ms, ask, n);
}

static bool same_addrs(const struct addr *a, size_t n, const struct addr *b, size_t n_b)
{
	if (n != n_b)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!addr_same_host(&a[i], &b[i]))
			return false;
	return true;
}

static void take_addrs(struct name *n, const struct resolve_result *r)
{
	struct addr old[TARGET_ADDRS], now[TARGET_ADDRS];
	size_t n_old = target_addrs(n->target, old), n_now = 0;

	for (size_t i = 0; i < r->n && n_now < TARGET_ADDRS; i++)
		now[n_now++] = r->addrs[i];
	/* what was good of a family stays until an answer says otherwise */
	for (size_t i = 0; i < n_old && n_now < TARGET_ADDRS; i++)
		if (old[i].family == r->unanswered)
			now[n_now++] = old[i];
	target_set_addrs(n->target, now, n_now, r->more);
	if (!same_addrs(old, n_old, now, n_now))
		n->names->changed(n->names->arg);
}

static void found(struct name *n, const struct resolve_result *r)
{
	uint32_t ttl = r->ttl_s < TTL_FLOOR_S ? TTL_FLOOR_S : r->ttl_s;

	if (n->told)
		log_info("the server name %s resolves again", n->host);
	n->told = false;
	n->retry_ms = 1000;
	if (!r->more)
		ask_later(n, 1000LL * (ttl > TTL_CEILING_S ? TTL_CEILING_S : ttl));
	take_addrs(n, r);
}

static void not_found(struct name *n, const struct resolve_result *r)
{
	struct addr old[TARGET_ADDRS];
	bool has_old = target_addrs(n->target, old) > 0;
	bool first = atomic_load(&n->target->state) == TARGET_UNKNOWN;

	if (!n->told)
		log_error("looking up the server name %s: %s: %s, trying again", n->host,
		          r->why ? r->why : "no address",
		          has_old ? "keeping its last addresses" : "its clients are refused");
	n->told = true;
	ask_later(n, n->retry_ms);
	n->retry_ms = n->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : n->retry_ms * 2;
	target_set_addrs(n->target, NULL, 0, false);
	if (first)
		n->names->changed(n->names->arg);
}

static void dns_answered(void *arg, const struct resolve_result *r)
{
	struct name *n = arg;

	n->asking = r->more;
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
	resolve_host(n->names->resolver, n->host, dns_answered, n);
}

int names_new(struct loop *l, struct world *world, void (*changed)(void *arg), void *arg, struct names **ret)
{
	const struct resolver_setup setup = {.loop = l, .purpose = "names of servers"};
	struct names *n = mem_alloc(sizeof(*n));
	int rc;

	*n = (struct names){.loop = l, .world = world, .changed = changed, .arg = arg};
	n->list = mem_alloc(TARGETS_MAX * sizeof(*n->list));
	rc = resolver_new(&setup, NULL, 0, &n->resolver);
	if (rc < 0)
		names_free(n);
	else
		*ret = n;
	return rc;
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
	free(n);
}

static void want(struct names *n, const struct config *c, const struct section *section, const struct server *s)
{
	uint32_t i = world_target(n->world, c, section, s);

	if (i == TARGET_NONE) {
		log_error("too many different servers: %s is not served", s->key);
		return;
	}
	if (s->kind != SERVER_HOST || s->addr.family != AF_UNSPEC)
		return;
	if (!n->list[i]) {
		n->list[i] = mem_alloc(sizeof(*n->list[i]));
		*n->list[i] = (struct name){.names = n,
		                            .target = &n->world->targets.list[i],
		                            .host = mem_strdup(s->host),
		                            .retry_ms = 1000};
	}
	n->list[i]->wanted = true;
}

/* Other name servers are asked from now on, also what those before have been asked, which may never answer. */
static void ask_again(struct names *n)
{
	for (uint32_t i = 0; i < TARGETS_MAX; i++) {
		struct name *name = n->list[i];

		if (!name || !name->wanted)
			continue;
		resolve_cancel(n->resolver, name);
		name->asking = false;
		timer_clear(n->loop, &name->timer);
		ask(name);
	}
}

void names_refresh(struct names *n)
{
	if (resolver_refresh(n->resolver))
		ask_again(n);
}

int names_set_config(struct names *n, const struct config *c)
{
	int rc = resolver_set_servers(n->resolver, c->resolvers, c->n_resolvers);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < TARGETS_MAX; i++)
		if (n->list[i])
			n->list[i]->wanted = false;
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++)
			want(n, c, &c->sections[i], &c->sections[i].servers[k]);
	if (rc > 0)
		ask_again(n);
	for (uint32_t i = 0; i < TARGETS_MAX; i++) {
		struct name *name = n->list[i];

		if (name && name->wanted && !name->asking && !name->timer.place)
			ask(name);
		else if (name && !name->wanted)
			timer_clear(n->loop, &name->timer);
	}
	return 0;
}
