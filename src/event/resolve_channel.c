/*
 * resolve_channel.c - c-ares on the loop: its sockets are watches, its time limits a timer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/progress.h"
#include "event/resolve_parts.h"

#define QUERY_TIMEOUT_MS 2000
#define QUERY_TRIES      2

/* A socket of c-ares. They are few and come and go, so the structs are used again. */
struct resolver_socket {
	struct resolver_socket *next;
	struct watch watch; /* fd -1: unused */
	struct channel *channel;
};

static void on_timer(void *arg)
{
	struct channel *ch = arg;

	ares_process_fd(ch->servers, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	channel_set_timer(ch);
}

void channel_set_timer(struct channel *ch)
{
	struct loop *loop = ch->resolver->setup.loop;
	struct timeval tv;

	if (ares_timeout(ch->servers, NULL, &tv))
		timer_set(loop, &ch->timer, clock_mono_ms() + (int64_t)tv.tv_sec * 1000 + (tv.tv_usec + 999) / 1000,
		          on_timer, ch);
	else
		timer_clear(loop, &ch->timer);
}

static void on_socket(void *arg, uint32_t events)
{
	struct resolver_socket *s = arg;
	struct channel *ch = s->channel;
	int fd = s->watch.fd;

	progress(); /* what the library gets done is not seen here */
	ares_process_fd(ch->servers, events & ~(uint32_t)EPOLLOUT ? fd : ARES_SOCKET_BAD,
	                events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
	channel_set_timer(ch);
}

static struct resolver_socket *find_socket(struct channel *ch, int fd)
{
	for (struct resolver_socket *s = ch->sockets; s; s = s->next)
		if (s->watch.fd == fd)
			return s;
	return NULL;
}

static struct resolver_socket *new_socket(struct channel *ch)
{
	struct resolver_socket *s = find_socket(ch, -1);

	if (s)
		return s;
	s = mem_alloc(sizeof(*s));
	s->channel = ch;
	s->next = ch->sockets;
	ch->sockets = s;
	return s;
}

/* c-ares wants this of its socket from now on; neither: it closes it next. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct channel *ch = data;
	struct loop *loop = ch->resolver->setup.loop;
	struct resolver_socket *s = find_socket(ch, fd);
	uint32_t events = (readable ? (uint32_t)EPOLLIN : 0) | (writable ? (uint32_t)EPOLLOUT : 0);

	if (!events) {
		if (s)
			watch_remove(loop, &s->watch);
	} else if (s) {
		watch_change(loop, &s->watch, events);
	} else {
		/* If it cannot be watched, its queries time out. */
		s = new_socket(ch);
		watch_add(loop, &s->watch, fd, events, on_socket, s);
	}
}

/* ---- life ---- */

static int error_from_ares(int status)
{
	return status == ARES_ENOMEM ? -ENOMEM : -EINVAL;
}

static int set_servers(struct channel *ch, const struct addr *servers, size_t n)
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
	status = ares_set_servers_ports(ch->servers, nodes);
	free(nodes);
	return status == ARES_SUCCESS ? 0 : error_from_ares(status);
}

/* c-ares reads the system's files here, and never again. */
static int open_both(struct channel *ch)
{
	const struct resolver_setup *setup = &ch->resolver->setup;
	struct ares_options options = {
	        .flags = ARES_FLAG_EDNS, /* answers of many addresses need no second question, by TCP */
	        .timeout = QUERY_TIMEOUT_MS,
	        .tries = QUERY_TRIES,
	        .lookups = (char[]){"f"},
	        .udp_port = setup->port,
	        .tcp_port = setup->port,
	        .resolvconf_path = (char *)setup->resolv_conf,
	        .sock_state_cb = on_socket_state,
	        .sock_state_cb_data = ch,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF;
	int status = ares_init_options(&ch->servers, &options,
	                               mask | (setup->port ? ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT : 0));

	if (status == ARES_SUCCESS)
		status = ares_save_options(ch->servers, &ch->found, &ch->found_mask);
	if (status == ARES_SUCCESS)
		status = ares_init_options(&ch->hosts, &options, ARES_OPT_LOOKUPS | ARES_OPT_RESOLVCONF);
	return status == ARES_SUCCESS ? 0 : error_from_ares(status);
}

int channel_new(struct resolver *r, const struct addr *servers, size_t n, struct channel **ret)
{
	struct channel *ch = mem_alloc(sizeof(*ch));
	int rc;

	ch->resolver = r;
	rc = open_both(ch);
	if (rc == 0)
		rc = set_servers(ch, servers, n);
	if (rc < 0)
		channel_free(ch);
	else
		*ret = ch;
	return rc;
}

void channel_free(struct channel *ch)
{
	struct resolver_socket *s;

	if (!ch)
		return;
	if (ch->servers)
		ares_destroy(ch->servers);
	if (ch->hosts)
		ares_destroy(ch->hosts);
	ares_destroy_options(&ch->found);
	timer_clear(ch->resolver->setup.loop, &ch->timer);
	while ((s = ch->sockets)) {
		ch->sockets = s->next;
		free(s);
	}
	free(ch);
}

bool channel_same(struct channel *a, struct channel *b)
{
	const struct ares_options *x = &a->found, *y = &b->found;
	char servers[2][CHANNEL_TEXT];

	if (x->ndots != y->ndots || a->found_mask != b->found_mask || strcmp(x->lookups, y->lookups) != 0 ||
	    x->ndomains != y->ndomains || x->nsort > 0 || y->nsort > 0) /* what these are cannot be asked */
		return false;
	for (int i = 0; i < x->ndomains; i++)
		if (strcmp(x->domains[i], y->domains[i]) != 0)
			return false;
	channel_describe(a, servers[0], CHANNEL_TEXT);
	channel_describe(b, servers[1], CHANNEL_TEXT);
	return strcmp(servers[0], servers[1]) == 0;
}

void channel_describe(struct channel *ch, char *buf, size_t size)
{
	struct ares_addr_port_node *list = NULL;
	size_t at = 0;

	buf[0] = '\0';
	if (ares_get_servers_ports(ch->servers, &list) != ARES_SUCCESS)
		return;
	for (struct ares_addr_port_node *node = list; node && at + ADDR_TEXT_MAX + 2 < size; node = node->next) {
		struct addr a = {.family = (uint16_t)node->family};
		char text[ADDR_TEXT_MAX];

		memcpy(a.ip, &node->addr, a.family == AF_INET ? 4 : 16);
		at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? ", " : "", addr_format(&a, text));
	}
	ares_free_data(list);
}
