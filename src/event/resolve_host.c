/*
 * resolve_host.c - all addresses of a host: from the hosts file or from the name servers, in the order and with the search list
 * of the system.
 *
 * Each name of the search list is asked for twice, for IPv4 and for IPv6 addresses, and the next one only if neither has
 * any. An answer to one of them does not wait for the other longer than 50 ms (RFC 8305, section 3): there are name servers,
 * and things in front of them, that never answer questions for IPv6.
 */
#include <stdlib.h>
#include <string.h>
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "event/prefer.h"
#include "event/resolve_parts.h"

#define OTHER_FAMILY_MS 50 /* "resolution delay" */

enum { FOUR, SIX };
static const int families[] = {AF_INET, AF_INET6};

/* One family of a name. */
struct half {
	struct host *host;
	bool answered; /* or c-ares has given it up */
	int status;
	struct addr *addrs;
	size_t n;
	uint32_t ttl_s;
};

struct host {
	struct request request; /* its timer: the limit, and then how long an answer waits for the other family */
	int64_t limit_ms;       /* monotonic: by then it is answered, or has failed */
	resolve_fn *fn;
	char *name;
	const char *lookup; /* what is to be asked next */
	size_t candidate;   /* the next name of the search list */
	int error;          /* what it comes to, if nothing is found */
	unsigned pending;
	struct half half[2];
	struct half *first; /* the family that was told already; NULL: none */
};

/* ---- telling ---- */

/* Of this one an answer may still be missing; that there are none is an answer. */
static bool is_unanswered(const struct half *h)
{
	return !h->answered ||
	       (h->n == 0 && h->status != ARES_SUCCESS && h->status != ARES_ENODATA && h->status != ARES_ENOTFOUND);
}

static struct half *first_of(struct host *h)
{
	struct half *four = &h->half[FOUR], *six = &h->half[SIX];
	struct way way[2];

	if (h->first)
		return h->first;
	if (four->n == 0 || six->n == 0)
		return six->n > 0 ? six : four;
	way[FOUR] = prefer_way_to(&four->addrs[0]);
	way[SIX] = prefer_way_to(&six->addrs[0]);
	return prefer_compare(&way[FOUR], &way[SIX]) <= 0 ? four : six;
}

static uint16_t unanswered_family(const struct host *h)
{
	for (int i = FOUR; i <= SIX; i++)
		if (is_unanswered(&h->half[i]))
			return (uint16_t)families[i];
	return AF_UNSPEC;
}

/* What is known by now; more: it is not all. */
static void tell(struct host *h, bool more)
{
	struct half *first = first_of(h), *second = &h->half[first == &h->half[FOUR] ? SIX : FOUR];
	size_t n = first->n + second->n;
	struct addr *addrs = mem_alloc((n + 1) * sizeof(*addrs));
	struct resolve_result result = {.addrs = addrs, .n = n, .more = more};

	for (size_t i = 0; i < n; i++)
		addrs[i] = i < first->n ? first->addrs[i] : second->addrs[i - first->n];
	result.ttl_s = first->ttl_s;
	if (second->n > 0 && second->ttl_s < result.ttl_s)
		result.ttl_s = second->ttl_s;
	if (n == 0) {
		result.error = h->error;
		result.none = error_says_none(h->error);
		result.why = ares_strerror(h->error);
	} else {
		result.unanswered = unanswered_family(h);
	}
	if (!more)
		request_count(&h->request, result.error);
	if (h->request.wanted)
		h->fn(h->request.arg, &result);
	free(addrs);
}

static void on_other_family_late(void *arg)
{
	struct host *h = arg;

	h->first = &h->half[h->half[FOUR].answered ? FOUR : SIX];
	tell(h, true);
}

static void drop_halves(struct host *h)
{
	for (int i = FOUR; i <= SIX; i++) {
		free(h->half[i].addrs);
		h->half[i] = (struct half){.host = h};
	}
}

static void finish(struct host *h)
{
	tell(h, false);
	request_end(&h->request);
	drop_halves(h);
	free(h->name);
	free(h);
}

/* ---- asking ---- */

static size_t count_dots(const char *name)
{
	size_t n = 0;

	for (; *name; name++)
		n += *name == '.';
	return n;
}

static bool ends_with_dot(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && name[len - 1] == '.';
}

/* The i-th name to be tried, with a dot at its end; the caller frees it. NULL: there are no more. */
static char *candidate(const struct host *h, size_t i)
{
	const struct ares_options *found = &h->request.channel->found;
	bool whole = ends_with_dot(h->name);
	size_t n_domains = whole ? 0 : (size_t)found->ndomains;
	bool as_it_is_first = whole || count_dots(h->name) >= (size_t)found->ndots;
	const char *domain;

	if (i == (as_it_is_first ? 0 : n_domains))
		return mem_printf("%s%s", h->name, whole ? "" : ".");
	i -= as_it_is_first;
	if (i >= n_domains)
		return NULL;
	domain = found->domains[i];
	if (strcmp(domain, ".") == 0)
		return mem_printf("%s.", h->name);
	return mem_printf("%s.%s%s", h->name, domain, ends_with_dot(domain) ? "" : ".");
}

static void take(struct half *h, int status, struct ares_addrinfo *ai)
{
	h->answered = true;
	h->status = status;
	h->addrs = resolver_take_addrs(ai, &h->n, &h->ttl_s);
	if (status == ARES_SUCCESS && h->n == 0)
		h->status = ARES_ENODATA;
	if (ai)
		ares_freeaddrinfo(ai);
}

static void on_hosts_file(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	take(arg, status, ai);
}

/* The file holds all that there is of a name, or nothing. */
static bool ask_hosts_file(struct host *h)
{
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct half *all = &h->half[FOUR];

	ares_getaddrinfo(h->request.channel->hosts, h->name, NULL, &hints, on_hosts_file, all);
	CHECK(all->answered); /* it takes no name server */
	if (all->n > 0) {
		h->half[SIX].answered = true;
		return true;
	}
	drop_halves(h);
	return false;
}

static void next(struct host *h);

/* Both families of a name are answered, or were given up. */
static void settle(struct host *h)
{
	struct half *four = &h->half[FOUR], *six = &h->half[SIX];

	timer_clear(h->request.resolver->setup.loop, &h->request.timer);
	if (four->n + six->n > 0) {
		finish(h);
	} else if (is_unanswered(four) || is_unanswered(six)) {
		h->error = is_unanswered(four) ? four->status : six->status;
		finish(h);
	} else {
		if (h->error != ARES_ENODATA)
			h->error = four->status == ARES_ENOTFOUND ? six->status : four->status;
		drop_halves(h);
		next(h);
	}
}

static void on_half(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	struct half *half = arg;
	struct host *h = half->host;

	take(half, status, ai);
	if (--h->pending == 0)
		settle(h);
	else if (half->n > 0 && h->request.wanted)
		timer_set(h->request.resolver->setup.loop, &h->request.timer, clock_mono_ms() + OTHER_FAMILY_MS,
		          on_other_family_late, h);
}

/* Nobody has answered. What c-ares hears later is not wanted any more. */
static void on_limit(void *arg)
{
	struct host *h = arg;

	h->error = ARES_ETIMEOUT;
	tell(h, false);
	request_forget(&h->request);
}

static void ask(struct host *h, const char *name)
{
	if (h->request.wanted)
		timer_set(h->request.resolver->setup.loop, &h->request.timer, h->limit_ms, on_limit, h);
	h->pending = 3; /* one is ours: nothing is settled before both are asked */
	for (int i = FOUR; i <= SIX; i++)
		request_ask(&h->request, name, families[i], on_half, &h->half[i]);
	if (--h->pending == 0)
		settle(h);
}

static void next(struct host *h)
{
	char *name;

	for (; *h->lookup; h->lookup++) {
		if (*h->lookup == 'f' && ask_hosts_file(h))
			break;
		name = *h->lookup == 'b' ? candidate(h, h->candidate++) : NULL;
		if (name) {
			ask(h, name); /* it may be over already */
			free(name);
			return;
		}
	}
	finish(h);
}

void resolve_host(struct resolver *r, const char *host, resolve_fn *fn, void *arg)
{
	struct addr literal;
	struct channel *ch;
	struct host *h;

	/* c-ares 1.18 asks the name servers even for these. */
	if (addr_parse(host, &literal)) {
		fn(arg, &(struct resolve_result){.addrs = &literal, .n = 1, .ttl_s = UINT32_MAX});
		return;
	}
	h = mem_alloc(sizeof(*h));
	h->fn = fn;
	h->name = mem_strdup(host);
	h->error = ARES_ENOTFOUND;
	h->limit_ms = request_limit_ms(r);
	request_begin(r, &h->request, arg);
	ch = h->request.channel;
	h->lookup = ch->found.lookups;
	drop_halves(h);
	next(h); /* it may be over already */
	channel_set_timer(ch);
}
