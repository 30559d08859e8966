#include "event/resolve.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/resolve_parts.h"

#define RESOLV_CONF       "/etc/resolv.conf"
#define NSSWITCH_CONF     "/etc/nsswitch.conf"
#define QUESTION_LIMIT_MS 12000

/* ---- the system's files ---- */

static const char *file_path(const struct resolver *r, int i)
{
	return i == FILE_RESOLV ? r->setup.resolv_conf : NSSWITCH_CONF;
}

/* false: it cannot be looked at now. */
static bool look_at_file(const char *path, struct file_stamp *ret)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	*ret = (struct file_stamp){st.st_dev, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
	return true;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_stamp(const struct file_stamp *a, const struct file_stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && same_time(&a->modified, &b->modified) &&
	       same_time(&a->changed, &b->changed);
}

/* Notes how the files are now. Returns the path of one that is another than it was; NULL: none. One that has vanished may be
 * on its way to be replaced: what it said holds until then. */
static const char *find_change(struct resolver *r)
{
	const char *changed = NULL;

	for (int i = N_FILES - 1; i >= 0; i--) {
		struct file_stamp now;

		if (!look_at_file(file_path(r, i), &now) || same_stamp(&now, &r->stamps[i]))
			continue;
		r->stamps[i] = now;
		changed = file_path(r, i);
	}
	return changed;
}

/* ---- the servers to ask ---- */

static void resolve_sweep(void *arg)
{
	struct resolver *r = arg;
	struct channel **link = &r->channels->next, *ch;

	while ((ch = *link)) {
		if (ch->questions > 0) {
			link = &ch->next;
			continue;
		}
		*link = ch->next;
		channel_free(ch);
	}
}

/* Not at once: c-ares may just be calling back. */
static void sweep_soon(struct resolver *r)
{
	timer_set(r->setup.loop, &r->sweep, clock_mono_ms(), resolve_sweep, r);
}

/* From now on a new channel is asked; those before it end what they have begun. */
static int begin_channel(struct resolver *r)
{
	struct channel *ch;
	int rc = channel_new(r, r->servers, r->n_servers, &ch);

	if (rc < 0)
		return rc;
	ch->next = r->channels;
	r->channels = ch;
	if (ch->next)
		sweep_soon(r);
	return 0;
}

bool resolver_refresh(struct resolver *r)
{
	const char *path = r->n_servers == 0 ? find_change(r) : NULL;
	struct channel *before = r->channels;
	char servers[CHANNEL_TEXT];
	int rc;

	if (!path)
		return false;
	rc = begin_channel(r);
	if (rc < 0) {
		log_error("looking up %s: %s has changed, but cannot be used: %s: going on as before", r->setup.purpose,
		          path, strerror(-rc));
		return false;
	}
	if (channel_same(before, r->channels)) { /* written again with what it said already */
		channel_free(r->channels);
		r->channels = before;
		return false;
	}
	channel_describe(r->channels, servers, sizeof(servers));
	log_info("looking up %s: %s has changed, asking %s from now on", r->setup.purpose, path, servers);
	return true;
}

static bool same_servers(const struct resolver *r, const struct addr *servers, size_t n)
{
	return r->n_servers == n && (n == 0 || memcmp(r->servers, servers, n * sizeof(*servers)) == 0);
}

static void take_servers(struct resolver *r, const struct addr *servers, size_t n)
{
	free(r->servers);
	r->servers = mem_alloc(n * sizeof(*servers) + 1);
	r->n_servers = n;
	if (n > 0)
		memcpy(r->servers, servers, n * sizeof(*servers));
}

int resolver_set_servers(struct resolver *r, const struct addr *servers, size_t n)
{
	int rc;

	if (same_servers(r, servers, n))
		return resolver_refresh(r);
	take_servers(r, servers, n);
	find_change(r);
	rc = begin_channel(r);
	return rc < 0 ? rc : 1;
}

/* ---- life ---- */

int resolver_new(const struct resolver_setup *setup, const struct addr *servers, size_t n, struct resolver **ret)
{
	struct resolver *r = mem_alloc(sizeof(*r));
	int rc;

	r->setup = *setup;
	if (!r->setup.resolv_conf)
		r->setup.resolv_conf = RESOLV_CONF;
	take_servers(r, servers, n);
	find_change(r); /* before it is read: what changes meanwhile is read again */
	rc = begin_channel(r);
	if (rc < 0)
		resolver_free(r);
	else
		*ret = r;
	return rc;
}

void resolver_free(struct resolver *r)
{
	struct channel *ch;

	if (!r)
		return;
	for (struct request *q = r->requests; q; q = q->next)
		request_forget(q);
	while ((ch = r->channels)) {
		r->channels = ch->next;
		channel_free(ch); /* calls back for every query, which frees the requests */
	}
	timer_clear(r->setup.loop, &r->sweep);
	free(r->servers);
	free(r);
}

void resolve_cancel(struct resolver *r, const void *arg)
{
	for (struct request *q = r->requests; q; q = q->next)
		if (q->arg == arg)
			request_forget(q);
}

/* ---- requests ---- */

void request_begin(struct resolver *r, struct request *q, void *arg)
{
	resolver_refresh(r);
	q->resolver = r;
	q->channel = r->channels;
	q->channel->questions++;
	q->arg = arg;
	q->wanted = true;
	q->next = r->requests;
	q->link = &r->requests;
	if (q->next)
		q->next->link = &q->next;
	r->requests = q;
}

void request_forget(struct request *q)
{
	q->wanted = false;
	timer_clear(q->resolver->setup.loop, &q->timer);
}

int64_t request_limit_ms(const struct resolver *r)
{
	return clock_mono_ms() + (r->setup.limit_ms ? r->setup.limit_ms : QUESTION_LIMIT_MS);
}

bool error_says_none(int error)
{
	return error == ARES_ENOTFOUND || error == ARES_ENODATA;
}

void request_count(struct request *q, int error)
{
	enum name_answer kind = error == 0 ? NAME_GOOD : error_says_none(error) ? NAME_NONE : NAME_FAILED;

	if (q->wanted)
		q->resolver->counts.n[kind]++;
}

struct resolve_counts resolver_counts(const struct resolver *r)
{
	return r->counts;
}

void request_end(struct request *q)
{
	request_forget(q);
	q->channel->questions--;
	if (q->channel != q->resolver->channels)
		sweep_soon(q->resolver);
	*q->link = q->next;
	if (q->next)
		q->next->link = q->link;
}

/* ---- what both kinds need ---- */

void request_ask(struct request *q, const char *host, int family, ares_addrinfo_callback fn, void *arg)
{
	struct ares_addrinfo_hints hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};

	ares_getaddrinfo(q->channel->servers, host, NULL, &hints, fn, arg);
}

struct addr *resolver_take_addrs(const struct ares_addrinfo *ai, size_t *n, uint32_t *ttl_s)
{
	struct addr *addrs;
	size_t count = 0;

	*n = 0;
	*ttl_s = UINT32_MAX;
	for (struct ares_addrinfo_node *node = ai ? ai->nodes : NULL; node; node = node->ai_next)
		count++;
	addrs = mem_alloc((count + 1) * sizeof(*addrs));
	for (struct ares_addrinfo_node *node = ai ? ai->nodes : NULL; node; node = node->ai_next) {
		uint32_t ttl = node->ai_ttl > 0 ? (uint32_t)node->ai_ttl : 0;

		addr_from_sockaddr(node->ai_addr, node->ai_addrlen, &addrs[*n]);
		addrs[*n].port = 0;
		++*n;
		if (ttl < *ttl_s)
			*ttl_s = ttl;
	}
	if (*n == 0)
		*ttl_s = 0;
	return addrs;
}
