#include "children/listeners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "children/opening.h"
#include "os/refuse.h"
#include "os/sock.h"
#include "os/systemd.h"
#include "os/unix_listen.h"
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
		    s->list[i].addr.scope == a->scope && sock_is_dual(s->list[i].fd))
			return &s->list[i];
	return NULL;
}

/* ---- those that others have opened ---- */

/* After a restart both systemd and the workers have it. */
static bool has_socket(const struct sockets *s, int fd)
{
	uint64_t cookie = sock_cookie(fd);

	for (size_t i = 0; i < s->n; i++)
		if (s->list[i].id & SOCKET_FOREIGN && sock_cookie(s->list[i].fd) == cookie)
			return true;
	return false;
}

/* NULL: there is none. */
static const struct service *find_service(const struct config *c, enum listen_kind listen, const char *path)
{
	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].listen == listen && strcmp(c->services[i].path, path) == 0)
			return &c->services[i];
	return NULL;
}

static uint32_t place_of_passed(const struct config *c, int fd, const char *name)
{
	const struct service *service = *name ? find_service(c, LISTEN_PASSED, name) : NULL;
	char path[SOCK_UNIX_PATH_SIZE];

	if (!service && sock_unix_path(fd, path))
		service = find_service(c, LISTEN_UNIX, path);
	return service ? service->place : 0 /* "port fd:" may take it */;
}

void sockets_adopt(struct sockets *s, const struct config *c, int first, int n, const char *names)
{
	for (int fd = first; fd < first + n; fd++) {
		char *name = systemd_fd_name(names, fd - first);
		uint32_t place = place_of_passed(c, fd, name);
		struct addr a;

		free(name);
		if (sock_is_listening(fd) && (sock_is_tcp(fd) || sock_is_unix(fd)) && sock_local(fd, &a) == 0 &&
		    !has_socket(s, fd)) {
			sock_prepare_listener(fd);
			a.scope = place ? place : a.scope;
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
	if (a->family == AF_UNIX)
		return addr_place(a) && sock_is_listening(fd);
	return sock_is_tcp(fd) && a->port && (sock_is_listening(fd) || sock_peer(fd, NULL) < 0);
}

/* Where it listens, as it stands in the list. */
static int local_at(int fd, uint32_t place, struct addr *ret)
{
	int rc = sock_local(fd, ret);

	if (rc == 0 && place & ADDR_PLACE && place != ADDR_NO_SCOPE)
		ret->scope = place;
	return rc;
}

void sockets_adopt_one(struct sockets *s, int fd, uint32_t id, uint32_t place)
{
	uint32_t number = id & ~SOCKET_FOREIGN;
	struct addr a;

	/* no worker takes 0 for a listener, and after the last number there would be no other */
	if (number == 0 || id >= UINT32_MAX / 2 || sockets_has(s, id) || local_at(fd, place, &a) < 0 ||
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

static const struct service *service_at(const struct config *c, const struct addr *a)
{
	for (size_t i = 0; i < c->n_services; i++)
		if (service_listens_at(&c->services[i], a))
			return &c->services[i];
	return NULL; /* cannot be: the address is said by one */
}

static int open_one(const struct service *service, const struct addr *a, const struct sockets *old,
                    const struct sockets *next, const struct blank_list *blanks)
{
	/* two of ours that are told apart by their interfaces may be opened together */
	bool apart = a->port && share_port(next, a->port, true), share = a->port && share_port(old, a->port, true);
	int fd = opening_listen(service, a, share || apart, blanks);

	if (fd == -EADDRINUSE && a->port && was_left(a->port))
		fd = opening_listen(service, a, true, blanks);
	if (share)
		share_port(old, a->port, false);
	if (apart)
		share_port(next, a->port, false);
	return fd;
}

/* Is this the socket of one address, and is its port to be served on all of them? */
static bool covered(const struct addr *a, const struct addr *wanted, size_t n)
{
	if (addr_is_wildcard(a))
		return false;
	for (size_t i = 0; i < n; i++)
		if (addr_is_wildcard(&wanted[i]) && wanted[i].family == a->family && wanted[i].port == a->port &&
		    addr_place(&wanted[i]) == addr_place(a))
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

	if (a->family != AF_INET6 || !addr_is_loopback(a) || addr_place(a))
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
		if (c->sections[i].kind == INTERFACE_ADDRESS && c->sections[i].net.net.family == a->family &&
		    memcmp(c->sections[i].net.net.ip, a->ip, sizeof(a->ip)) == 0)
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
		if (s->list[i].addr.port == a->port && s->list[i].addr.family == a->family &&
		    addr_place(&s->list[i].addr) == addr_place(a))
			s->list[i].overlaps = true;
}

static void keep(struct sockets *next, const struct socket_entry *e)
{
	if (!sockets_has(next, e->id))
		add(next, &e->addr, e->fd, e->id);
}

static const struct socket_entry *find_of(const struct sockets *s, const struct service *service)
{
	for (size_t i = 0; i < s->n; i++)
		if (service_listens_at(service, &s->list[i].addr))
			return &s->list[i];
	return NULL;
}

static bool file_is_gone(const struct service *service)
{
	struct stat st;

	return service->listen == LISTEN_UNIX && *service->path != '@' && lstat(service->path, &st) < 0 &&
	       errno == ENOENT;
}

/* What we have of it nobody can reach any more: its file was removed, its network namespace or its interface has been deleted and made anew. False: there is no
 * such namespace. */
static bool look_for(const struct sockets *old, const struct service *service, const struct blank_list *blanks,
                     bool *lost, struct buf *why)
{
	const struct socket_entry *have = service->place ? find_of(old, service) : NULL;
	int rc = have && service->netns ? opening_is_there(service, have->fd, blanks) : 1;

	*lost = rc == 0 || file_is_gone(service) ||
	        (have && service->device && sock_device_is_another(have->fd, service->device));
	if (rc < 0 && rc != -EPERM) /* if nobody may look, it is there */
		opening_explain(service, &have->addr, -rc, why);
	return rc >= 0 || rc == -EPERM;
}

/* Those of `port fd:NAME`. */
static bool keep_passed(const struct sockets *old, const struct service *service, struct sockets *next, struct buf *why)
{
	bool any = false;

	for (size_t i = 0; i < old->n; i++)
		if (old->list[i].addr.scope == service->place) {
			keep(next, &old->list[i]);
			any = true;
		}
	if (!any && *service->path)
		buf_addf(
		        why,
		        "port fd:%s: no socket of that name was passed to us: systemd does, at a start, if its .socket "
		        "unit says FileDescriptorName=%s\n",
		        service->path, service->path);
	return any || !*service->path;
}

/* `port fd:` takes those that no other port has taken. */
static bool keep_rest(const struct sockets *old, const struct service *service, struct sockets *next, struct buf *why)
{
	bool any = false;

	for (size_t i = 0; i < old->n; i++) {
		struct addr a = old->list[i].addr;

		if (!(old->list[i].id & SOCKET_FOREIGN) || sockets_has(next, old->list[i].id))
			continue;
		a.scope = service->place;
		add(next, &a, old->list[i].fd, old->list[i].id);
	}
	for (size_t i = 0; i < next->n; i++)
		any |= next->list[i].addr.scope == service->place;
	if (!any)
		buf_adds(
		        why,
		        "port fd:: no socket was passed to us that no other port takes: systemd does, at a start, by a "
		        ".socket unit\n");
	return any;
}

static bool take_passed(const struct sockets *old, const struct config *c, struct sockets *next, struct buf *why)
{
	const struct service *rest = NULL;
	bool ok = true;

	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].listen == LISTEN_PASSED) {
			ok &= keep_passed(old, &c->services[i], next, why);
			rest = *c->services[i].path ? rest : &c->services[i];
		}
	return (!rest || keep_rest(old, rest, next, why)) && ok;
}

void sockets_unlink(const struct sockets *old, const struct sockets *kept, void (*remove)(void *arg, const char *path),
                    void *arg)
{
	char path[SOCK_UNIX_PATH_SIZE];

	for (size_t i = 0; i < old->n; i++) {
		const struct socket_entry *e = &old->list[i];

		if (!(e->id & SOCKET_FOREIGN) && sock_unix_path(e->fd, path) && *path != '@' &&
		    !(kept && (sockets_has(kept, e->id) || find(kept, &e->addr))))
			remove(arg, path);
	}
}

/* What we have just made. */
static void unlink_plainly(void *arg, const char *path)
{
	(void)arg;
	unlink(path);
}

bool sockets_open(const struct sockets *old, const struct config *c, const struct interface_address *ifs, size_t n_ifs,
                  const struct blank_list *blanks, struct sockets *next, struct buf *why)
{
	struct addr *wanted;
	size_t n = config_binds(c, ifs, n_ifs, &wanted);
	bool ok = true, *lost;

	*next = (struct sockets){.last_id = old->last_id};
	if (too_many(n, why)) {
		free(wanted);
		return false;
	}
	lost = mem_alloc((c->n_services + 1) * sizeof(*lost));
	for (size_t i = 0; i < c->n_services; i++)
		ok &= look_for(old, &c->services[i], blanks, &lost[i], why);
	for (size_t i = 0; i < n && ok; i++) {
		const struct socket_entry *have = find_wide(old, &wanted[i]);
		const struct service *service = service_at(c, &wanted[i]);
		int fd;

		if (have && !lost[service->index]) {
			keep(next, have);
			continue;
		}
		fd = open_one(service, &wanted[i], old, next, blanks);
		if (fd >= 0) {
			add(next, &wanted[i], fd, ++next->last_id);
		} else if (!may_be_left_out(c, &wanted[i], -fd, wanted, n)) {
			opening_explain(service, &wanted[i], -fd, why);
			ok = false;
		}
	}
	free(lost);
	ok = take_passed(old, c, next, why) && ok;
	/* closed, it would reset a client that connects at that moment; the wildcard does the same, so it stays. Nobody
	 * connects to one that refuses */
	for (size_t i = 0; i < old->n; i++)
		if (covered(&old->list[i].addr, wanted, n) && !sockets_has(next, old->list[i].id) &&
		    sock_is_listening(old->list[i].fd)) {
			add(next, &old->list[i].addr, old->list[i].fd, old->list[i].id);
			mark_overlap(next, &old->list[i].addr);
		}
	free(wanted);
	if (!ok) {
		sockets_unlink(next, old, unlink_plainly, NULL);
		sockets_close(next, old);
	}
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

/* A reload may say other rights of it. */
static void tune_file(const struct service *service)
{
	int rc = service && *service->path != '@' ? unix_listen_mode(service->path, service->mode) : 0;

	if (rc < 0 && rc != -EACCES) /* where we cannot look it is as it was made */
		log_warning("port unix:%s: mode=%04o takes effect at the next start: %s", service->path, service->mode,
		            unix_listen_error(-rc));
}

void sockets_tune(const struct sockets *s, const struct config *c, const struct interface_address *ifs, size_t n_ifs)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct section *section = config_find(c, &s->list[i].addr, ifs, n_ifs);

		if (section)
			sock_keepalive(s->list[i].fd, section->keepalive_ms);
		if (s->list[i].addr.family == AF_UNIX && !(s->list[i].id & SOCKET_FOREIGN))
			tune_file(service_at(c, &s->list[i].addr));
	}
}

static void give_file(const struct service *service, uid_t uid, gid_t gid)
{
	int rc = service && !service->owner && *service->path != '@' ? unix_listen_give(service->path, uid, gid) : 0;

	if (rc < 0)
		log_warning("the file of port unix:%s stays root's: %s", service->path, unix_listen_error(-rc));
}

void sockets_give(const struct sockets *s, const struct config *c, uid_t uid, gid_t gid)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct socket_entry *e = &s->list[i];

		if (e->addr.family == AF_UNIX && !(e->id & SOCKET_FOREIGN))
			give_file(service_at(c, &e->addr), uid, gid);
		if (fchown(e->fd, uid, (gid_t)-1) < 0)
			log_warning("a listening socket stays root's: a reload cannot move it between "
			            "an address and all addresses");
	}
}
