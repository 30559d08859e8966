#include "event/resolve.h"

#include <ares.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"

#define QUERY_TIMEOUT_MS 2000
#define QUERY_TRIES      3
#define NAME_MAX_LEN     255

/* A socket of c-ares. They are few and come and go, so the structs are used again, never freed:
 * an event that is under way finds its watch in any case. */
struct resolver_socket {
	struct resolver_socket *next;
	struct watch watch; /* fd -1: unused */
	struct resolver *resolver;
};

/* c-ares cannot take back a single query: who does not want the answer any more has its functions
 * cleared, and the request goes when c-ares is done with it. */
struct request {
	struct request *next, **link;
	struct resolver *resolver;
	resolve_fn *host_fn;
	resolve_name_fn *name_fn;
	void *arg;
	struct addr client;
	char name[NAME_MAX_LEN + 1]; /* to be verified */
	struct timer limit;
};

struct resolver {
	struct loop *loop;
	ares_channel channel;
	struct timer timer;
	struct resolver_socket *sockets;
	struct request *requests;
};

/* ---- c-ares on the loop ---- */

static void set_timer(struct resolver *r);

static void on_timer(void *arg)
{
	struct resolver *r = arg;

	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	set_timer(r);
}

/* After everything that may have started or ended a query. */
static void set_timer(struct resolver *r)
{
	struct timeval tv;

	if (!ares_timeout(r->channel, NULL, &tv)) {
		timer_clear(r->loop, &r->timer);
		return;
	}
	timer_set(r->loop, &r->timer,
	          clock_mono_ms() + (int64_t)tv.tv_sec * 1000 + (tv.tv_usec + 999) / 1000, on_timer,
	          r);
}

static void on_socket(void *arg, uint32_t events)
{
	struct resolver_socket *s = arg;
	struct resolver *r = s->resolver;
	int fd = s->watch.fd;

	ares_process_fd(r->channel, events & ~(uint32_t)EPOLLOUT ? fd : ARES_SOCKET_BAD,
	                events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
	set_timer(r);
}

static struct resolver_socket *find_socket(struct resolver *r, int fd)
{
	for (struct resolver_socket *s = r->sockets; s; s = s->next)
		if (s->watch.fd == fd)
			return s;
	return NULL;
}

static struct resolver_socket *new_socket(struct resolver *r)
{
	struct resolver_socket *s = find_socket(r, -1);

	if (s)
		return s;
	s = mem_alloc(sizeof(*s));
	s->resolver = r;
	s->next = r->sockets;
	r->sockets = s;
	return s;
}

/* c-ares wants this of its socket from now on; neither: it closes it next. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = data;
	struct resolver_socket *s = find_socket(r, fd);
	uint32_t events = (readable ? (uint32_t)EPOLLIN : 0) | (writable ? (uint32_t)EPOLLOUT : 0);

	if (!events) {
		if (s)
			watch_remove(r->loop, &s->watch);
	} else if (s) {
		watch_change(r->loop, &s->watch, events);
	} else {
		/* If it cannot be watched, its queries time out. */
		s = new_socket(r);
		watch_add(r->loop, &s->watch, fd, events, on_socket, s);
	}
}

/* ---- life ---- */

static int error_from_ares(int status)
{
	return status == ARES_ENOMEM ? -ENOMEM : -EINVAL;
}

static int set_servers(struct resolver *r, const struct addr *servers, size_t n)
{
	struct ares_addr_port_node *nodes;
	int status;

	if (n == 0)
		return 0;
	nodes = mem_alloc(n * sizeof(*nodes));
	for (size_t i = 0; i < n; i++) {
		int port = servers[i].port ? servers[i].port : 53;

		nodes[i].next = i + 1 < n ? &nodes[i + 1] : NULL;
		nodes[i].family = servers[i].family;
		nodes[i].udp_port = port;
		nodes[i].tcp_port = port;
		memcpy(&nodes[i].addr, servers[i].ip, sizeof(nodes[i].addr));
	}
	status = ares_set_servers_ports(r->channel, nodes);
	free(nodes);
	return status == ARES_SUCCESS ? 0 : error_from_ares(status);
}

int resolver_new(struct loop *l, const struct addr *servers, size_t n, struct resolver **ret)
{
	struct resolver *r = mem_alloc(sizeof(*r));
	struct ares_options options = {
	    .timeout = QUERY_TIMEOUT_MS,
	    .tries = QUERY_TRIES,
	    .sock_state_cb = on_socket_state,
	    .sock_state_cb_data = r,
	};
	int rc, status;

	r->loop = l;
	status = ares_init_options(&r->channel, &options,
	                           ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
	if (status != ARES_SUCCESS) {
		free(r);
		return error_from_ares(status);
	}
	rc = set_servers(r, servers, n);
	if (rc < 0) {
		resolver_free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

static void forget(struct request *q)
{
	q->host_fn = NULL;
	q->name_fn = NULL;
	timer_clear(q->resolver->loop, &q->limit);
}

void resolver_free(struct resolver *r)
{
	struct resolver_socket *s;

	if (!r)
		return;
	for (struct request *q = r->requests; q; q = q->next)
		forget(q);
	ares_destroy(r->channel); /* calls back for every query, which frees the requests */
	timer_clear(r->loop, &r->timer);
	while ((s = r->sockets)) {
		r->sockets = s->next;
		free(s);
	}
	free(r);
}

void resolve_cancel(struct resolver *r, const void *arg)
{
	for (struct request *q = r->requests; q; q = q->next)
		if (q->arg == arg)
			forget(q);
}

/* ---- requests ---- */

static struct request *new_request(struct resolver *r, void *arg)
{
	struct request *q = mem_alloc(sizeof(*q));

	q->resolver = r;
	q->arg = arg;
	q->next = r->requests;
	q->link = &r->requests;
	if (q->next)
		q->next->link = &q->next;
	r->requests = q;
	return q;
}

static void free_request(struct request *q)
{
	forget(q);
	*q->link = q->next;
	if (q->next)
		q->next->link = q->link;
	free(q);
}

static void start_addrinfo(struct request *q, const char *host, int family,
                           ares_addrinfo_callback fn)
{
	struct ares_addrinfo_hints hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};

	ares_getaddrinfo(q->resolver->channel, host, NULL, &hints, fn, q);
}

/* ---- a host's addresses ---- */

/* The addresses of a list, in its order. The caller frees them. */
static struct addr *take_addrs(const struct ares_addrinfo *ai, size_t *n, uint32_t *ttl_s)
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

static void on_host(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	struct request *q = arg;
	resolve_fn *fn = q->host_fn;
	void *fn_arg = q->arg;
	struct resolve_result result = {.error = status};
	struct addr *addrs;

	free_request(q);
	addrs = take_addrs(ai, &result.n, &result.ttl_s);
	if (ai)
		ares_freeaddrinfo(ai);
	if (status == ARES_SUCCESS && result.n == 0)
		result.error = ARES_ENODATA;
	result.addrs = addrs;
	result.why = result.error ? ares_strerror(result.error) : NULL;
	if (fn)
		fn(fn_arg, &result);
	free(addrs);
}

void resolve_host(struct resolver *r, const char *host, resolve_fn *fn, void *arg)
{
	struct addr literal;
	struct request *q;

	/* c-ares 1.18 asks the name servers even for these. */
	if (addr_parse(host, &literal)) {
		fn(arg, &(struct resolve_result){.addrs = &literal, .n = 1, .ttl_s = UINT32_MAX});
		return;
	}
	q = new_request(r, arg);
	q->host_fn = fn;
	start_addrinfo(q, host, AF_UNSPEC, on_host);
	set_timer(r);
}

/* ---- a client's name ---- */

static void answer_name(struct request *q, const char *name)
{
	resolve_name_fn *fn = q->name_fn;

	forget(q);
	if (fn)
		fn(q->arg, name);
}

static void on_limit(void *arg)
{
	answer_name(arg, "");
}

/* The owner of an address can call it what he likes, and programs put names into shell commands,
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
	struct request *q = arg;
	struct addr *addrs;
	uint32_t ttl_s;
	size_t n;

	addrs = take_addrs(ai, &n, &ttl_s);
	if (ai)
		ares_freeaddrinfo(ai);
	answer_name(q, holds_host(addrs, n, q->client) ? q->name : "");
	free(addrs);
	free_request(q);
}

static void on_reverse(void *arg, int status, int timeouts, struct hostent *host)
{
	struct request *q = arg;

	if (!q->name_fn || status != ARES_SUCCESS || !host || !host->h_name ||
	    !take_clean_name(host->h_name, q->name)) {
		answer_name(q, "");
		free_request(q);
		return;
	}
	start_addrinfo(q, q->name, q->client.family, on_forward);
}

void resolve_client(struct resolver *r, const struct addr *client, int64_t timeout_ms,
                    resolve_name_fn *fn, void *arg)
{
	struct request *q;

	if (client->family != AF_INET && client->family != AF_INET6) {
		fn(arg, "");
		return;
	}
	q = new_request(r, arg);
	q->name_fn = fn;
	q->client = *client;
	timer_set(r->loop, &q->limit, clock_mono_ms() + timeout_ms, on_limit, q);
	ares_gethostbyaddr(r->channel, client->ip, client->family == AF_INET ? 4 : 16,
	                   client->family, on_reverse, q);
	set_timer(r);
}
