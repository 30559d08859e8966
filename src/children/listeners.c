#include "children/listeners.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/caps.h"
#include "os/refuse.h"
#include "os/sock.h"
#include "takeover/table.h"

#define LEFT_MS   10000
#define SPARE_FDS 256 /* what else must fit beside them; of few descriptors a half */

static void add(struct sockets *s, const struct addr *a, int fd, uint32_t id)
{
	s->list = mem_resize(s->list, s->n + 1, sizeof(*s->list));
	s->list[s->n++] = (struct socket_entry){.addr = *a, .fd = fd, .id = id};
}

bool sockets_has(const struct sockets *s, uint32_t id)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].id == id)
			return true;
	return false;
}

static const struct socket_entry *find(const struct sockets *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n; i++)
		if (addr_same_host(&s->list[i].addr, a) && s->list[i].addr.port == a->port)
			return &s->list[i];
	return NULL;
}

/* A passed socket that is bound to :: without V6ONLY takes both wildcards. */
static const struct socket_entry *find_wide(const struct sockets *s, const struct addr *a)
{
	const struct socket_entry *exact = find(s, a);

	if (exact || !addr_is_wildcard(a))
		return exact;
	for (size_t i = 0; i < s->n; i++)
		if (addr_is_wildcard(&s->list[i].addr) && s->list[i].addr.port == a->port &&
		    sock_is_dual(s->list[i].fd))
			return &s->list[i];
	return NULL;
}

void sockets_adopt(struct sockets *s, int first, int n)
{
	for (int fd = first; fd < first + n; fd++) {
		struct addr a;

		if (sock_is_listening(fd) && sock_is_tcp(fd) && sock_local(fd, &a) == 0) {
			sock_prepare_listener(fd);
			add(s, &a, fd, ++s->last_id | SOCKET_FOREIGN);
		} else {
			close(fd);
		}
	}
}

/* Sockets of ours on the same port: a wildcard that is to be followed by an address, or the other way
 * round. */
static bool share_port(const struct sockets *s, uint16_t port, bool share)
{
	bool any = false;

	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].addr.port == port) {
			sock_share_port(s->list[i].fd, share);
			any = true;
		}
	return any;
}

/* It listens, or did so until its port began to refuse. */
static bool is_listener(int fd, const struct addr *a)
{
	return sock_is_tcp(fd) && a->port && (sock_is_listening(fd) || sock_peer(fd, NULL) < 0);
}

void sockets_adopt_one(struct sockets *s, int fd, uint32_t id)
{
	uint32_t number = id & ~SOCKET_FOREIGN;
	struct addr a;

	/* no worker takes 0 for a listener, and after the last number there would be no other */
	if (number == 0 || id >= UINT32_MAX / 2 || sockets_has(s, id) || sock_local(fd, &a) < 0 ||
	    !is_listener(fd, &a)) {
		close(fd);
		return;
	}
	if (!sock_is_listening(fd))
		refuse_end(fd, SOCK_BACKLOG); /* if it cannot, it is tried again (refusing.c) */
	add(s, &a, fd, id);
	if (number > s->last_id)
		s->last_id = number;
}

bool socket_is_ours(const struct socket_entry *e)
{
	return !(e->id & SOCKET_FOREIGN) && sock_binds_freely(e->fd);
}

/* ---- ports that were given up a moment ago ---- */

/* Workers close theirs when they read of it: until then the port is in use, by ourselves alone. A file that is changed
 * back must find it: what is given up may be shared from then on by another socket of our user. */
static struct left_port {
	uint16_t port;
	int64_t until_ms;
} * left_ports;
static size_t n_left_ports;

static void remember_left(const struct socket_entry *e)
{
	int64_t now = clock_mono_ms();
	size_t n = 0;

	sock_share_port(e->fd, true);
	for (size_t i = 0; i < n_left_ports; i++)
		if (left_ports[i].until_ms > now && left_ports[i].port != e->addr.port)
			left_ports[n++] = left_ports[i];
	left_ports = mem_resize(left_ports, n + 1, sizeof(*left_ports));
	left_ports[n] = (struct left_port){.port = e->addr.port, .until_ms = now + LEFT_MS};
	n_left_ports = n + 1;
}

void sockets_leave(const struct sockets *old, const struct sockets *kept)
{
	for (size_t i = 0; i < old->n; i++)
		if (!sockets_has(kept, old->list[i].id))
			remember_left(&old->list[i]);
}

static bool was_left(uint16_t port)
{
	for (size_t i = 0; i < n_left_ports; i++)
		if (left_ports[i].port == port && left_ports[i].until_ms > clock_mono_ms())
			return true;
	return false;
}

/* ---- opening ---- */

static int open_one(const struct addr *a, const struct sockets *old)
{
	bool share = share_port(old, a->port, true);
	int fd;

	if (a->port < 1024)
		caps_raise(CAP_NET_BIND_SERVICE, true);
	fd = sock_listen(a, SOCK_BACKLOG, share);
	if (fd == -EADDRINUSE && was_left(a->port))
		fd = sock_listen(a, SOCK_BACKLOG, true);
	if (a->port < 1024)
		caps_raise(CAP_NET_BIND_SERVICE, false);
	if (share)
		share_port(old, a->port, false);
	return fd;
}

/* Is this the socket of one address, and is its port to be served on all of them? */
static bool covered(const struct addr *a, const struct addr *wanted, size_t n)
{
	if (addr_is_wildcard(a))
		return false;
	for (size_t i = 0; i < n; i++)
		if (addr_is_wildcard(&wanted[i]) && wanted[i].family == a->family && wanted[i].port == a->port)
			return true;
	return false;
}

bool sockets_listen_at(const struct sockets *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct addr *b = &s->list[i].addr;

		if (b->port == a->port && (addr_same_host(b, a) || (addr_is_wildcard(b) && b->family == a->family)))
			return true;
	}
	return false;
}

/* A name means what can be had of it: both halves of localhost, or the one that there is. */
static bool is_half_of_localhost(const struct addr *a, const struct addr *wanted, size_t n)
{
	const struct addr four = {.family = AF_INET, .ip = {127, 0, 0, 1}};

	if (a->family != AF_INET6 || !addr_is_loopback(a))
		return false;
	for (size_t i = 0; i < n; i++)
		if (wanted[i].port == a->port && wanted[i].family == AF_INET &&
		    (addr_same_host(&wanted[i], &four) || addr_is_wildcard(&wanted[i])))
			return true;
	return false;
}

static bool is_said_in_numbers(const struct addr *a, const struct config *c)
{
	for (size_t i = 0; i < c->n_sections; i++)
		if (c->sections[i].kind == INTERFACE_ADDRESS && addr_same_host(&c->sections[i].net.net, a))
			return true;
	return false;
}

/* No IPv6 in this kernel, or none for us: what was asked for by a name, or as "every address", is what else there is. */
static bool may_be_left_out(const struct config *c, const struct addr *a, int error, const struct addr *wanted,
                            size_t n)
{
	if (error != EAFNOSUPPORT && error != EADDRNOTAVAIL)
		return false;
	return (error == EAFNOSUPPORT && addr_is_wildcard(a)) || is_half_of_localhost(a, wanted, n) ||
	       !is_said_in_numbers(a, c);
}

static void explain(const struct addr *a, int error, struct buf *why)
{
	char text[ADDR_TEXT_MAX];

	buf_addf(why, "port %u: cannot listen on %s: %s", a->port, addr_format_port(a, text), strerror(error));
	if (error == EADDRINUSE)
		buf_addf(why, " (see who has it: ss -ltnp 'sport = :%u')", a->port);
	else if (error == EACCES)
		buf_adds(why, " (ports below 1024 need root or CAP_NET_BIND_SERVICE)");
	buf_addc(why, '\n');
}

/* Each takes a descriptor here and in each worker, besides those of connections. */
static bool too_many(size_t n, struct buf *why)
{
	struct rlimit limit;

	if (n > TRIO_LISTENERS) {
		buf_addf(why, "%zu sockets would have to listen: at most %d can be served\n", n, TRIO_LISTENERS);
		return true;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || n + MIN((rlim_t)SPARE_FDS, limit.rlim_cur / 2) <= limit.rlim_cur)
		return false;
	buf_addf(why,
	         "%zu sockets would have to listen, and a process may open %llu descriptors here: raise the limit "
	         "(ulimit "
	         "-Hn, LimitNOFILE in a unit), or open fewer ports\n",
	         n, (unsigned long long)limit.rlim_cur);
	return true;
}

static void mark_overlap(struct sockets *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].addr.port == a->port && s->list[i].addr.family == a->family)
			s->list[i].overlaps = true;
}

bool sockets_open(const struct sockets *old, const struct config *c, const struct interface_address *ifs, size_t n_ifs,
                  struct sockets *next, struct buf *why)
{
	struct addr *wanted;
	size_t n = config_binds(c, ifs, n_ifs, &wanted);
	bool ok = true;

	*next = (struct sockets){.last_id = old->last_id};
	if (too_many(n, why)) {
		free(wanted);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		const struct socket_entry *have = find_wide(old, &wanted[i]);
		int fd;

		if (have) {
			if (!sockets_has(next, have->id))
				add(next, &have->addr, have->fd, have->id);
			continue;
		}
		fd = open_one(&wanted[i], old);
		if (fd >= 0) {
			add(next, &wanted[i], fd, ++next->last_id);
		} else if (!may_be_left_out(c, &wanted[i], -fd, wanted, n)) {
			explain(&wanted[i], -fd, why);
			ok = false;
		}
	}
	/* closed, it would reset a client that connects at that moment; the wildcard does the same, so it stays. Nobody
	 * connects to one that refuses */
	for (size_t i = 0; i < old->n; i++)
		if (covered(&old->list[i].addr, wanted, n) && !sockets_has(next, old->list[i].id) &&
		    sock_is_listening(old->list[i].fd)) {
			add(next, &old->list[i].addr, old->list[i].fd, old->list[i].id);
			mark_overlap(next, &old->list[i].addr);
		}
	free(wanted);
	if (!ok)
		sockets_close(next, old);
	return ok;
}

void sockets_close(struct sockets *old, const struct sockets *kept)
{
	for (size_t i = 0; i < old->n; i++)
		if (!kept || !sockets_has(kept, old->list[i].id))
			close(old->list[i].fd);
	free(old->list);
	old->list = NULL;
	old->n = 0;
}

void sockets_tune(const struct sockets *s, const struct config *c, const struct interface_address *ifs, size_t n_ifs)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct section *section = config_find(c, &s->list[i].addr, ifs, n_ifs);

		if (section)
			sock_keepalive(s->list[i].fd, section->keepalive_ms);
	}
}

void sockets_give(const struct sockets *s, uid_t uid)
{
	for (size_t i = 0; i < s->n; i++)
		if (fchown(s->list[i].fd, uid, (gid_t)-1) < 0)
			log_warning("a listening socket stays root's: a reload cannot move it between "
			            "an address and all addresses");
}
