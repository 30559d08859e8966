/*
 * resolve_client.c - the name of a client: the reverse name of its address, if that has this address, too.
 */
#include <ctype.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "event/resolve_parts.h"

#define NAME_MAX_LEN 255

struct client {
	struct request request;
	resolve_name_fn *fn;
	struct addr addr;
	char name[NAME_MAX_LEN + 1]; /* to be verified */
};

static void answer(struct client *c, const char *name)
{
	bool wanted = c->request.wanted;

	request_forget(&c->request);
	if (wanted)
		c->fn(c->request.arg, name);
}

static void end(struct client *c)
{
	request_end(&c->request);
	free(c);
}

static void resolve_client_on_limit(void *arg)
{
	answer(arg, "");
}

/* The owner of an address can give it any name, and programs put names into shell commands,
 * logs and file names. A `-` in front would be an option. Copies in lower case, as UCSPI wants it.
 */
static bool take_clean_name(const char *name, char ret[NAME_MAX_LEN + 1])
{
	size_t len = strlen(name);

	if (len == 0 || len > NAME_MAX_LEN || *name == '-' || *name == '.')
		return false;
	for (size_t i = 0; i <= len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c && (c >= 0x80 || (!isalnum(c) && !strchr("._-", c))))
			return false;
		ret[i] = (char)tolower(c);
	}
	return true;
}

static bool holds_host(const struct addr *addrs, size_t n, struct addr host)
{
	host.scope = 0; /* no name server knows our interfaces */
	for (size_t i = 0; i < n; i++)
		if (addr_same_host(&addrs[i], &host))
			return true;
	return false;
}

static void on_forward(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	struct client *c = arg;
	uint32_t ttl_s;
	size_t n;
	struct addr *addrs = resolver_take_addrs(ai, &n, &ttl_s);

	if (ai)
		ares_freeaddrinfo(ai);
	answer(c, holds_host(addrs, n, c->addr) ? c->name : "");
	free(addrs);
	end(c);
}

static void on_reverse(void *arg, int status, int timeouts, struct hostent *host)
{
	struct client *c = arg;

	if (!c->request.wanted || status != ARES_SUCCESS || !host || !host->h_name ||
	    !take_clean_name(host->h_name, c->name)) {
		answer(c, "");
		end(c);
		return;
	}
	request_ask(&c->request, c->name, c->addr.family, on_forward, c);
}

void resolve_client(struct resolver *r, const struct addr *client, int64_t timeout_ms, resolve_name_fn *fn, void *arg)
{
	struct channel *ch;
	struct client *c;

	if (client->family != AF_INET && client->family != AF_INET6) {
		fn(arg, "");
		return;
	}
	c = mem_alloc(sizeof(*c));
	c->fn = fn;
	c->addr = *client;
	request_begin(r, &c->request, arg);
	ch = c->request.channel;
	timer_set(r->setup.loop, &c->request.timer, clock_mono_ms() + timeout_ms, resolve_client_on_limit, c);
	ares_gethostbyaddr(ch->servers, client->ip, client->family == AF_INET ? 4 : 16, client->family, on_reverse, c);
	channel_set_timer(ch);
}
