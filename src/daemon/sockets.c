#include "daemon/sockets.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "os/sock.h"
#include "os/user.h"

#define BACKLOG 4096

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
			add(s, &a, fd, ++s->last_id);
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

void sockets_adopt_one(struct sockets *s, int fd, uint32_t id)
{
	struct addr a;

	if (sockets_has(s, id) || sock_local(fd, &a) < 0) {
		close(fd);
		return;
	}
	add(s, &a, fd, id);
	if (id > s->last_id)
		s->last_id = id;
}

static int open_one(const struct addr *a, const struct sockets *old)
{
	bool share = share_port(old, a->port, true);
	int fd;

	if (a->port < 1024)
		user_raise(CAP_NET_BIND_SERVICE, true);
	fd = sock_listen(a, BACKLOG, share);
	if (a->port < 1024)
		user_raise(CAP_NET_BIND_SERVICE, false);
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

static void explain(const struct addr *a, int error, struct buf *why)
{
	char text[ADDR_TEXT_MAX];

	buf_addf(why, "port %u: cannot listen on %s: %s", a->port, addr_format_port(a, text),
		 strerror(error));
	if (error == EADDRINUSE)
		buf_addf(why, " (see who has it: ss -ltnp 'sport = :%u')", a->port);
	else if (error == EACCES)
		buf_adds(why, " (ports below 1024 need root or CAP_NET_BIND_SERVICE)");
	buf_addc(why, '\n');
}

bool sockets_open(const struct sockets *old, const struct config *c,
		  const struct interface_address *ifs, size_t n_ifs, struct sockets *next,
		  struct buf *why)
{
	struct addr *wanted;
	size_t n = config_binds(c, ifs, n_ifs, &wanted);
	bool ok = true;

	*next = (struct sockets){.last_id = old->last_id};
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
		} else if (fd != -EAFNOSUPPORT || !addr_is_wildcard(&wanted[i])) {
			/* a host without IPv6 has no wildcard of it to listen on */
			explain(&wanted[i], -fd, why);
			ok = false;
		}
	}
	/* closed, it would reset whoever connects at that moment; the wildcard does the same, so it stays */
	for (size_t i = 0; i < old->n; i++)
		if (covered(&old->list[i].addr, wanted, n) && !sockets_has(next, old->list[i].id))
			add(next, &old->list[i].addr, old->list[i].fd, old->list[i].id);
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

void sockets_tune(const struct sockets *s, const struct config *c,
		  const struct interface_address *ifs, size_t n_ifs)
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
