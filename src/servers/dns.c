#include "servers/dns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 30000

struct held {
	struct addr addr;
	int64_t gone_ms; /* an answer left it out then; 0: none has */
};

struct name {
	struct names *names;
	uint32_t target; /* its index */
	char *host;
	struct timer timer; /* the next question */
	struct timer hold;  /* the end of what an answer has left out */
	struct held held[TARGET_ADDRS];
	size_t n;         /* those in front are of the last answer */
	int64_t none_ms;  /* since then it does not exist; 0: it does, or nobody says */
	int64_t retry_ms; /* after the next failure */
	bool wanted;      /* by the present configuration */
	bool asking;
	bool told; /* the log knows that it does not resolve */
};

struct names {
	struct loop *loop;
	const struct world *world;
	struct resolver *resolver;
	struct names_ops ops;
	int64_t ttl_min_ms, ttl_max_ms, hold_ms, keep_ms;
	struct name **list; /* by index of the target; NULL: needs no looking up */
};

static void ask(void *arg);

static void ask_later(struct name *n, int64_t delay_ms)
{
	timer_set(n->names->loop, &n->timer, n->names->loop->now_ms + delay_ms, ask, n);
}

/* ---- addresses ---- */

static bool has(const struct held *list, size_t n, const struct addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (addr_same_host(&list[i].addr, a))
			return true;
	return false;
}

static void tell(struct name *n, bool more)
{
	struct addr addrs[TARGET_ADDRS];

	if (!n->wanted)
		return;
	for (size_t i = 0; i < n->n; i++)
		addrs[i] = n->held[i].addr;
	n->names->ops.named(n->names->ops.arg,
	                    &(struct named){.target = n->target, .addrs = addrs, .n = n->n, .more = more});
}

static void drop_old(void *arg);

/* At the end of the first that is only held. */
static void plan_drop(struct name *n)
{
	int64_t first_ms = INT64_MAX;

	timer_clear(n->names->loop, &n->hold);
	for (size_t i = 0; i < n->n; i++)
		if (n->held[i].gone_ms && n->held[i].gone_ms < first_ms)
			first_ms = n->held[i].gone_ms;
	if (first_ms < INT64_MAX)
		timer_set(n->names->loop, &n->hold, first_ms + n->names->hold_ms, drop_old, n);
}

static void drop_old(void *arg)
{
	struct name *n = arg;
	size_t left = 0;

	for (size_t i = 0; i < n->n; i++)
		if (!n->held[i].gone_ms || n->names->loop->now_ms - n->held[i].gone_ms < n->names->hold_ms)
			n->held[left++] = n->held[i];
	n->n = left;
	tell(n, false);
	plan_drop(n);
}

/* An address that is not in the answer: of a family that was not answered it is as good as ever, any other is held for a while. */
static bool stays(const struct name *n, struct held *old, const struct resolve_result *r)
{
	if (old->addr.family == r->unanswered) {
		old->gone_ms = 0;
		return true;
	}
	if (!old->gone_ms)
		old->gone_ms = n->names->loop->now_ms;
	return n->names->loop->now_ms - old->gone_ms < n->names->hold_ms;
}

static void take_addrs(struct name *n, const struct resolve_result *r)
{
	struct held old[TARGET_ADDRS];
	size_t n_old = n->n;

	memcpy(old, n->held, n_old * sizeof(*old));
	n->n = 0;
	for (size_t i = 0; i < r->n && n->n < TARGET_ADDRS; i++)
		n->held[n->n++] = (struct held){.addr = r->addrs[i]};
	for (size_t i = 0; i < n_old && n->n < TARGET_ADDRS; i++)
		if (!has(n->held, n->n, &old[i].addr) && stays(n, &old[i], r))
			n->held[n->n++] = old[i];
	tell(n, r->more);
	plan_drop(n);
}

/* ---- answers ---- */

static void found(struct name *n, const struct resolve_result *r)
{
	const struct names *all = n->names;
	int64_t ttl_ms = r->ttl_s > INT32_MAX ? all->ttl_max_ms : 1000LL * r->ttl_s;

	if (n->told)
		log_info("the server name %s resolves again", n->host);
	n->told = false;
	n->none_ms = 0;
	n->retry_ms = RETRY_MIN_MS;
	if (ttl_ms > all->ttl_max_ms)
		ttl_ms = all->ttl_max_ms;
	if (!r->more)
		ask_later(n, ttl_ms < all->ttl_min_ms ? all->ttl_min_ms : ttl_ms);
	take_addrs(n, r);
}

/* There is no such name: its last addresses live on for a while only. */
static bool is_over(struct name *n, const struct resolve_result *r)
{
	int64_t now_ms = n->names->loop->now_ms;

	if (!r->none || n->n == 0)
		return false;
	if (!n->none_ms)
		n->none_ms = now_ms;
	return now_ms - n->none_ms >= n->names->keep_ms;
}

static void not_found(struct name *n, const struct resolve_result *r)
{
	bool over = is_over(n, r);

	if (over)
		log_error("the server name %s has not existed for %lld s: its clients are refused", n->host,
		          (long long)(n->names->keep_ms / 1000));
	else if (!n->told)
		log_error("looking up the server name %s: %s: %s, trying again", n->host,
		          r->why ? r->why : "no address",
		          n->n > 0 ? "keeping its last addresses" : "its clients are refused");
	n->told = true;
	ask_later(n, n->retry_ms);
	n->retry_ms = n->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : n->retry_ms * 2;
	if (over) {
		n->n = 0;
		timer_clear(n->names->loop, &n->hold);
	}
	n->names->ops.named(n->names->ops.arg, &(struct named){.target = n->target, .forget = over});
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

int names_new(struct loop *l, const struct world *world, const struct names_ops *ops, struct names **ret)
{
	const struct resolver_setup setup = {.loop = l, .purpose = "names of servers"};
	struct names *n = mem_alloc(sizeof(*n));
	int rc;

	*n = (struct names){.loop = l, .world = world, .ops = *ops};
	n->list = mem_alloc(TARGETS_MAX * sizeof(*n->list));
	rc = resolver_new(&setup, NULL, 0, &n->resolver);
	if (rc < 0)
		names_free(n);
	else
		*ret = n;
	return rc;
}

static void name_free(struct name *name)
{
	timer_clear(name->names->loop, &name->timer);
	timer_clear(name->names->loop, &name->hold);
	free(name->host);
	free(name);
}

static void name_drop(struct names *n, uint32_t i)
{
	resolve_cancel(n->resolver, n->list[i]);
	name_free(n->list[i]);
	n->list[i] = NULL;
}

void names_free(struct names *n)
{
	if (!n)
		return;
	resolver_free(n->resolver);
	for (uint32_t i = 0; i < TARGETS_MAX; i++)
		if (n->list[i])
			name_free(n->list[i]);
	free(n->list);
	free(n);
}

static bool needs_looking_up(const struct server *s)
{
	return s->kind == SERVER_HOST && s->addr.family == AF_UNSPEC;
}

bool names_wanted(const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++)
			if (needs_looking_up(&c->sections[i].servers[k]))
				return true;
	return false;
}

/* What is known of it already, from whoever looked after it before. */
static struct name *name_new(struct names *n, uint32_t target, const struct server *s)
{
	struct name *name = mem_alloc(sizeof(*name));
	struct addr addrs[TARGET_ADDRS];

	*name = (struct name){.names = n, .target = target, .host = mem_strdup(s->host), .retry_ms = RETRY_MIN_MS};
	name->n = target_addrs(&n->world->targets.list[target], addrs);
	for (size_t i = 0; i < name->n; i++)
		name->held[i].addr = addrs[i];
	return name;
}

static void want(struct names *n, const struct config *c, const struct section *section, const struct server *s)
{
	uint32_t i = world_target(n->world, c, section, s);

	if (!needs_looking_up(s) || i == TARGET_NONE)
		return;
	if (n->list[i] && strcmp(n->list[i]->host, s->host) != 0)
		name_drop(n, i); /* the place of another server, which is gone */
	if (!n->list[i])
		n->list[i] = name_new(n, i, s);
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

int names_set_config(struct names *n, const struct config *c)
{
	int rc = resolver_set_servers(n->resolver, c->resolvers, c->n_resolvers);

	if (rc < 0)
		return rc;
	n->ttl_min_ms = c->name_ttl_min_ms;
	n->ttl_max_ms = c->name_ttl_max_ms;
	n->hold_ms = c->name_hold_ms;
	n->keep_ms = c->name_keep_ms;
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
	return rc;
}

struct resolver *names_resolver(struct names *n)
{
	return n->resolver;
}

void names_tell_again(struct names *n)
{
	for (uint32_t i = 0; i < TARGETS_MAX; i++)
		if (n->list[i] && (n->list[i]->n > 0 || n->list[i]->told))
			tell(n->list[i], false);
}

/* ---- the writer ---- */

bool names_has(const struct world *w, const struct config *c, uint32_t target)
{
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++) {
			const struct server *s = &c->sections[i].servers[k];

			if (needs_looking_up(s) && world_target(w, c, &c->sections[i], s) == target)
				return true;
		}
	return false;
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

bool names_write(struct world *w, const struct named *answer)
{
	struct target *t = &w->targets.list[answer->target];
	struct addr old[TARGET_ADDRS];
	size_t n_old = target_addrs(t, old);
	unsigned before = atomic_load(&t->state);

	if (answer->forget)
		target_forget(t);
	else
		target_set_addrs(t, answer->addrs, answer->n, answer->more);
	if (atomic_load(&t->state) != before)
		return true;
	return answer->n > 0 && !same_addrs(old, n_old, answer->addrs, answer->n);
}
