#include "children/adopt.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "ipc/wire.h"
#include "os/fds.h"
#include "os/private.h"
#include "os/proc.h"
#include "os/shm.h"
#include "os/sock.h"

#define ADOPT_PATIENCE_MS 5000 /* with all of them together */
#define AGAIN_PATIENCE_MS 200  /* with one, while we serve already */
#define ADOPT_AGAIN_MS    5

/* One message, waited for. */
static int receive(const struct orphans *o, int fd, void *data, size_t len, int *fds, size_t *n_fds)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t left_ms = o->until_ms - clock_mono_ms();

	if (poll(&p, 1, left_ms > 0 ? (int)left_ms : 0) != 1)
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
	return g->trio_version == TRIO_VERSION && g->world_version == WORLD_VERSION &&
	       g->trio_size == sizeof(struct trio) && g->world_size == sizeof(struct world) &&
	       g->row_size == sizeof(struct row) && g->cold_size == sizeof(struct row_cold);
}

/* All its listening sockets; those that another trio has told of already are closed again. */
static bool receive_listeners(struct orphans *o, int fd, uint32_t n)
{
	while (n > 0) {
		struct wire w;
		int fds[SOCK_MAX_FDS];
		size_t n_fds = SOCK_MAX_FDS;
		int len = receive(o, fd, &w, sizeof(w), fds, &n_fds);

		if (len != sizeof(w) || w.type != WIRE_LISTEN || n_fds != w.n || w.n == 0 || w.n > n) {
			if (len > 0)
				close_fds(fds, n_fds);
			return false;
		}
		for (size_t i = 0; i < n_fds; i++)
			sockets_adopt_one(&o->sockets, fds[i], w.ids[i], wire_place(&w, (uint32_t)i));
		n -= w.n;
	}
	return true;
}

/* What follows them: which server a client had, where that is remembered. *ret -1: it is not. */
static bool receive_stick(const struct orphans *o, int fd, bool has_stick, int *ret)
{
	size_t n_fds = 1;
	struct wire w;
	int len;

	*ret = -1;
	if (!has_stick)
		return true;
	len = receive(o, fd, &w, sizeof(w), ret, &n_fds);
	if (len == sizeof(w) && w.type == WIRE_STICK && n_fds == 1)
		return true;
	close_fds(ret, n_fds);
	*ret = -1;
	return false;
}

/* What it knows is in memory that we can read, and what wakes us and it can be watched, and never blocks. */
static bool take_memory(struct orphans *o, struct orphan *a)
{
	if (!fds_is_eventfd(a->fds[GREETING_WAKE]) || !fds_is_eventfd(a->fds[GREETING_REARM]))
		return false;
	a->trio = trio_map(a->fds[GREETING_TRIO], true);
	if (a->trio && !o->world)
		o->world = world_map(&(struct world_fds){a->fds[GREETING_SAID], a->fds[GREETING_WORLD]}, true);
	if (a->trio && o->world)
		return true;
	trio_unmap(a->trio);
	return false;
}

/* A greeting; before that we may be asked who we are. */
static int receive_greeting(const struct orphans *o, int fd, struct greeting *g, int *fds, size_t *n_fds)
{
	const struct wire answer = {.type = WIRE_KEY, .key = o->key};
	int len = receive(o, fd, g, sizeof(*g), fds, n_fds);

	if (len != sizeof(struct challenge) || g->magic != CHALLENGE_MAGIC)
		return len;
	close_fds(fds, *n_fds);
	sock_send_message(fd, &answer, sizeof(answer), NULL, 0);
	*g = (struct greeting){0};
	*n_fds = GREETING_FDS;
	return receive(o, fd, g, sizeof(*g), fds, n_fds);
}

static bool is_found(const struct orphans *o, uint32_t number)
{
	for (uint32_t i = 0; i < o->n; i++)
		if (o->list[i].number == number)
			return true;
	return false;
}

/* There are as many workers as a greeting says, but at least one more than the highest number found. */
static void count_workers(struct orphans *o, uint32_t said)
{
	o->n_workers = said > WORLD_WORKERS ? WORLD_WORKERS : said;
	for (uint32_t i = 0; i < o->n; i++)
		if (o->n_workers <= o->list[i].number)
			o->n_workers = o->list[i].number + 1;
}

/* Through this door. */
static enum adopt_result greet(struct orphans *o, int fd, const struct rendezvous_name *name)
{
	struct greeting g = {0};
	int fds[GREETING_FDS];
	size_t n_fds = GREETING_FDS;
	int len = receive_greeting(o, fd, &g, fds, &n_fds), stick_fd;
	struct orphan *a;

	if (len <= 0)
		return ADOPT_INTERRUPTED;
	if (len < (int)offsetof(struct greeting, next_id) || g.magic != GREETING_MAGIC) {
		close_fds(fds, n_fds);
		return ADOPT_UNKNOWN;
	}
	if (n_fds == GREETING_FDS_1)
		fds[n_fds++] = -1;
	if (g.supervised || n_fds != GREETING_FDS || g.number != name->number || is_found(o, g.number) ||
	    !rendezvous_is(fds[GREETING_DOOR], name)) {
		close_fds(fds, n_fds);
		return ADOPT_NONE;
	}
	if (!receive_listeners(o, fd, g.n_listeners) || !receive_stick(o, fd, g.has_stick, &stick_fd)) {
		close_fds(fds, n_fds);
		return ADOPT_INTERRUPTED;
	}
	o->list = mem_resize(o->list, o->n + 1, sizeof(*o->list));
	a = &o->list[o->n];
	*a = (struct orphan){.number = name->number, .control_fd = fd, .stick_fd = stick_fd, .next_id = g.next_id};
	memcpy(a->fds, fds, sizeof(fds));
	if (same_layout(&g) && !take_memory(o, a)) {
		close_fds(fds, n_fds);
		if (stick_fd >= 0)
			close(stick_fd);
		return ADOPT_NONE;
	}
	o->n++;
	count_workers(o, g.n_workers);
	return a->trio ? ADOPT_FOUND : ADOPT_INCOMPATIBLE;
}

/* ---- all doors at a time ---- */

struct visit {
	const struct rendezvous_name *name;
	int fd; /* -1: to be knocked at */
	bool over;
};

/* It is over if no trio is there, or none of ours; if there is no room, it is tried again. */
static void connect_to(struct visit *v)
{
	/* where root has started us, root has made the doors: what else of our user listens there is a stranger, which
	 * would be told the key */
	int fd = rendezvous_connect(v->name, private_is() ? 0 : geteuid());

	v->fd = fd < 0 ? -1 : fd;
	v->over = fd < 0 && fd != -EAGAIN;
}

static void visit_over(struct visit *v)
{
	v->fd = -1;
	v->over = true;
}

/* It says something. Its worker may die while it does; the next one opens the door again. */
static enum adopt_result listen_to(struct orphans *o, struct visit *v)
{
	enum adopt_result r = greet(o, v->fd, v->name);

	if (r == ADOPT_FOUND || r == ADOPT_INCOMPATIBLE) {
		visit_over(v); /* the socket is the orphan's */
		return r;
	}
	close(v->fd);
	v->fd = -1;
	v->over = r != ADOPT_INTERRUPTED;
	return r;
}

/* One look at all that have been knocked at. */
static enum adopt_result look(struct orphans *o, struct visit *visits, size_t n, int64_t wait_ms)
{
	struct pollfd *p = mem_alloc((n + 1) * sizeof(*p));
	enum adopt_result found = ADOPT_NONE;

	for (size_t i = 0; i < n; i++)
		p[i] = (struct pollfd){.fd = visits[i].over ? -1 : visits[i].fd, .events = POLLIN};
	poll(p, n, (int)wait_ms);
	for (size_t i = 0; i < n && found != ADOPT_UNKNOWN; i++)
		if (p[i].fd >= 0 && p[i].revents) {
			enum adopt_result r = listen_to(o, &visits[i]);

			if (r == ADOPT_FOUND || r == ADOPT_INCOMPATIBLE || r == ADOPT_UNKNOWN)
				found = r;
		}
	free(p);
	return found;
}

/* How many still may say something; all are knocked at. */
static size_t connect_all(const struct orphans *o, struct visit *visits, size_t n, bool *again)
{
	size_t left = 0;

	*again = false;
	for (size_t i = 0; i < n; i++) {
		if (!visits[i].over && visits[i].fd < 0 && is_found(o, visits[i].name->number))
			visit_over(&visits[i]); /* so it is a stranger's */
		if (!visits[i].over && visits[i].fd < 0)
			connect_to(&visits[i]);
		left += !visits[i].over;
		*again |= !visits[i].over && visits[i].fd < 0;
	}
	return left;
}

/* Doors at which nothing was said: the worker is stopped. One without room all the time may be a stranger's. */
static bool leave_silent(struct orphans *o, struct visit *visits, size_t n, uint32_t *number)
{
	bool silent = false;

	for (size_t i = 0; i < n; i++) {
		o->full |= !visits[i].over && visits[i].fd < 0;
		if (visits[i].over || visits[i].fd < 0)
			continue;
		close(visits[i].fd);
		if (!is_found(o, visits[i].name->number)) {
			*number = visits[i].name->number;
			silent = true;
		}
	}
	return silent;
}

static enum adopt_result visit_all(struct orphans *o, const struct rendezvous_name *names, size_t n,
                                   int64_t patience_ms)
{
	struct visit *visits = mem_alloc((n + 1) * sizeof(*visits));
	enum adopt_result found = ADOPT_NONE;
	bool again;

	o->until_ms = clock_mono_ms() + patience_ms;
	for (size_t i = 0; i < n; i++)
		visits[i] = (struct visit){.name = &names[i], .fd = -1};
	while (found != ADOPT_UNKNOWN && connect_all(o, visits, n, &again) > 0 && clock_mono_ms() < o->until_ms) {
		int64_t left_ms = o->until_ms - clock_mono_ms();
		enum adopt_result r = look(o, visits, n, again ? MIN(ADOPT_AGAIN_MS, left_ms) : MAX(left_ms, 0));

		found = r == ADOPT_NONE ? found : r;
	}
	if (leave_silent(o, visits, n, &o->silent) && found != ADOPT_UNKNOWN)
		found = ADOPT_SILENT;
	free(visits);
	return found;
}

enum adopt_result adopt_find(const char *what, uint64_t key, struct orphans *ret)
{
	struct rendezvous_name *names;
	size_t n = rendezvous_names(what, WORLD_WORKERS, &names);
	enum adopt_result found;

	*ret = (struct orphans){.key = key};
	found = visit_all(ret, names, n, ADOPT_PATIENCE_MS);
	free(names);
	return found;
}

int adopt_again(const char *what, uint64_t key, uint32_t number)
{
	struct orphans o = {.key = key};
	struct rendezvous_name *names;
	size_t n = rendezvous_names(what, number + 1, &names), mine = 0;
	enum adopt_result r;
	int fd = -EAGAIN;

	for (size_t i = 0; i < n; i++)
		if (names[i].number == number)
			names[mine++] = names[i];
	r = visit_all(&o, names, mine, AGAIN_PATIENCE_MS);
	free(names);
	if (r == ADOPT_FOUND || r == ADOPT_INCOMPATIBLE) {
		/* all that it tells is known already */
		fd = o.list[0].control_fd;
		o.list[0].control_fd = -1;
	}
	adopt_drop(&o);
	return fd;
}

int adopt_take_one(int control_fd)
{
	struct wire w = {.type = WIRE_ADOPT};
	int pidfd = proc_pidfd(getpid()), rc;

	if (pidfd < 0)
		return pidfd;
	rc = sock_send_message(control_fd, &w, sizeof(w), &pidfd, 1);
	close(pidfd);
	return rc == -EPIPE || rc == -ECONNRESET ? 0 : rc; /* that it has hung up is seen where it is watched */
}

void adopt_forget_memory(struct orphans *o)
{
	for (uint32_t i = 0; i < o->n; i++) {
		trio_unmap(o->list[i].trio);
		o->list[i].trio = NULL;
	}
	world_unmap(o->world);
	o->world = NULL;
}

void adopt_drop(struct orphans *o)
{
	adopt_forget_memory(o);
	for (uint32_t i = 0; i < o->n; i++) {
		close_fds(o->list[i].fds, GREETING_FDS);
		if (o->list[i].stick_fd >= 0)
			close(o->list[i].stick_fd);
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
