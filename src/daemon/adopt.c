#include "daemon/adopt.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/mem.h"
#include "daemon/wire.h"
#include "os/proc.h"
#include "os/shm.h"
#include "os/sock.h"

#define PATIENCE_MS 4000
#define KNOCKS      20

/* One message, waited for. */
static int receive(int fd, void *data, size_t len, int *fds, size_t *n_fds)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (poll(&p, 1, PATIENCE_MS) != 1)
		return -ETIMEDOUT;
	return sock_recv_message(fd, data, len, fds, n_fds);
}

static void close_fds(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static bool same_layout(const struct greeting *g)
{
	return g->trio_version == TRIO_VERSION &&
	       g->world_version == WORLD_VERSION && g->trio_size == sizeof(struct trio) &&
	       g->world_size == sizeof(struct world) && g->row_size == sizeof(struct row) &&
	       g->cold_size == sizeof(struct row_cold);
}

/* All its listening sockets; those that another trio has told of already are closed again. */
static bool receive_listeners(struct orphans *o, int fd, uint32_t n)
{
	while (n > 0) {
		struct wire w;
		int fds[SOCK_MAX_FDS];
		size_t n_fds = SOCK_MAX_FDS;
		int len = receive(fd, &w, sizeof(w), fds, &n_fds);

		if (len != sizeof(w) || w.type != WIRE_LISTEN || n_fds != w.n || w.n == 0 || w.n > n) {
			if (len > 0)
				close_fds(fds, n_fds);
			return false;
		}
		for (size_t i = 0; i < n_fds; i++)
			sockets_adopt_one(&o->sockets, fds[i], w.ids[i]);
		n -= w.n;
	}
	return true;
}

/* What it knows is in memory that we can read. */
static bool map_memory(struct orphans *o, struct orphan *a)
{
	a->trio = shm_map(a->fds[GREETING_TRIO], sizeof(struct trio));
	if (!o->world)
		o->world = shm_map(a->fds[GREETING_WORLD], sizeof(struct world));
	return a->trio && o->world;
}

static enum adopt_result greet(struct orphans *o, int fd)
{
	struct greeting g = {0};
	int fds[GREETING_FDS];
	size_t n_fds = GREETING_FDS;
	int len = receive(fd, &g, sizeof(g), fds, &n_fds);
	struct orphan *a;

	if (len <= 0)
		return ADOPT_INTERRUPTED;
	if (len < (int)offsetof(struct greeting, next_id) || g.magic != GREETING_MAGIC) {
		close_fds(fds, n_fds);
		return ADOPT_UNKNOWN;
	}
	if (g.supervised || n_fds != GREETING_FDS || g.number >= WORLD_WORKERS) {
		close_fds(fds, n_fds);
		return ADOPT_NONE;
	}
	if (!receive_listeners(o, fd, g.n_listeners)) {
		close_fds(fds, n_fds);
		return ADOPT_INTERRUPTED;
	}
	o->list = mem_resize(o->list, o->n + 1, sizeof(*o->list));
	a = &o->list[o->n];
	*a = (struct orphan){.number = g.number, .control_fd = fd, .next_id = g.next_id};
	memcpy(a->fds, fds, sizeof(fds));
	if (same_layout(&g) && !map_memory(o, a)) {
		close_fds(fds, n_fds);
		return ADOPT_NONE;
	}
	o->n++;
	o->n_workers = g.n_workers > WORLD_WORKERS ? WORLD_WORKERS : g.n_workers;
	return a->trio ? ADOPT_FOUND : ADOPT_INCOMPATIBLE;
}

/* Its worker may die while it greets; the next one opens the door again. */
static enum adopt_result find_one(struct orphans *o, const char *what, uint32_t number)
{
	for (int tries = 0; tries < KNOCKS; tries++) {
		int fd = door_knock(what, number, geteuid());
		enum adopt_result r;

		if (fd < 0)
			return ADOPT_NONE;
		r = greet(o, fd);
		if (r != ADOPT_FOUND && r != ADOPT_INCOMPATIBLE)
			close(fd);
		if (r != ADOPT_INTERRUPTED)
			return r;
	}
	return ADOPT_NONE;
}

enum adopt_result adopt_find(const char *what, struct orphans *ret)
{
	enum adopt_result found = ADOPT_NONE;

	*ret = (struct orphans){0};
	for (uint32_t i = 0; i < WORLD_WORKERS; i++) {
		enum adopt_result r = find_one(ret, what, i);

		if (r == ADOPT_UNKNOWN)
			return r;
		if (r == ADOPT_FOUND || r == ADOPT_INCOMPATIBLE)
			found = r;
	}
	return found;
}

int adopt_again(const char *what, uint32_t number)
{
	struct orphans o = {0};
	enum adopt_result r = find_one(&o, what, number);
	int fd = -EAGAIN;

	if (r == ADOPT_FOUND || r == ADOPT_INCOMPATIBLE) {
		/* all that it tells is known already */
		fd = o.list[0].control_fd;
		o.list[0].control_fd = -1;
	}
	adopt_drop(&o);
	return fd;
}

void adopt_take_one(int control_fd)
{
	struct wire w = {.type = WIRE_ADOPT};
	int pidfd = proc_pidfd(getpid());

	if (pidfd < 0)
		return;
	sock_send_message(control_fd, &w, sizeof(w), &pidfd, 1);
	close(pidfd);
}

void adopt_take(const struct orphans *o)
{
	for (uint32_t i = 0; i < o->n; i++)
		adopt_take_one(o->list[i].control_fd);
}

void adopt_forget_memory(struct orphans *o)
{
	for (uint32_t i = 0; i < o->n; i++) {
		if (o->list[i].trio)
			munmap(o->list[i].trio, o->list[i].trio->total_size);
		o->list[i].trio = NULL;
	}
	if (o->world)
		munmap(o->world, sizeof(*o->world));
	o->world = NULL;
}

void adopt_drop(struct orphans *o)
{
	adopt_forget_memory(o);
	for (uint32_t i = 0; i < o->n; i++) {
		close_fds(o->list[i].fds, GREETING_FDS);
		if (o->list[i].control_fd >= 0)
			close(o->list[i].control_fd);
	}
	sockets_close(&o->sockets, NULL);
	adopt_release(o);
}

void adopt_release(struct orphans *o)
{
	free(o->list);
	*o = (struct orphans){0};
}
