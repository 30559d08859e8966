#include "daemon/doorman.h"

#include <errno.h>
#include <unistd.h>
#include "daemon/wire.h"
#include "os/sock.h"
#include "takeover/keeper.h"

static bool supervised(const struct doorman *d)
{
	return trio_supervised() && !atomic_load(&d->trio->leaving);
}

static void send_away(struct doorman *d)
{
	int fd = d->suitor.fd;

	watch_remove(d->loop, &d->suitor);
	if (fd >= 0)
		close(fd);
	d->suitor.fd = -1;
}

/* Only looked at: whoever comes after us, should we die now, finds the word in the socket again. */
static void suitor_event(void *arg, uint32_t events)
{
	struct doorman *d = arg;
	struct wire w;
	int pidfd = -1, fd = d->suitor.fd;
	size_t n_fds = 1;
	int len = sock_peek_message(fd, &w, sizeof(w), &pidfd, &n_fds);

	if (len == -EAGAIN)
		return;
	if (n_fds == 1)
		close(pidfd);
	if (len != sizeof(w) || w.type != WIRE_ADOPT) {
		send_away(d);
		return;
	}
	watch_remove(d->loop, &d->suitor);
	d->suitor.fd = -1;
	d->chosen(fd);
}

static void tell_listeners(const struct trio *t, int to)
{
	struct wire w = {.type = WIRE_LISTEN};
	int fds[SOCK_MAX_FDS];

	for (int i = 0; i <= TRIO_LISTENERS; i++) {
		bool last = i == TRIO_LISTENERS;
		uint32_t id = last ? 0 : atomic_load(&t->listeners[i].id);

		if (id != 0) {
			w.ids[w.n] = id;
			fds[w.n++] = t->listeners[i].fd;
		}
		if (w.n == SOCK_MAX_FDS || (last && w.n > 0)) {
			sock_send_message(to, &w, sizeof(w), fds, w.n);
			w.n = 0;
		}
	}
}

static void greet(const struct doorman *d, int to)
{
	const struct trio *t = d->trio;
	const int fds[GREETING_FDS] = {t->trio_fd, t->world_fd, t->wake_fd, t->rearm_fd, t->door_fd};
	struct greeting g = {
		.magic = GREETING_MAGIC,
		.trio_version = t->version,
		.trio_size = t->size,
		.row_size = t->row_size,
		.cold_size = t->cold_size,
		.world_version = d->world->version,
		.world_size = d->world->size,
		.number = t->number,
		.n_workers = atomic_load(&d->world->n_workers),
		.supervised = supervised(d),
		.next_id = atomic_load(&d->world->next_id),
	};

	for (int i = 0; i < TRIO_LISTENERS; i++)
		g.n_listeners += atomic_load(&t->listeners[i].id) != 0;
	sock_send_message(to, &g, sizeof(g), fds, g.supervised ? 0 : GREETING_FDS);
	if (!g.supervised)
		tell_listeners(t, to);
}

static void door_event(void *arg, uint32_t events)
{
	struct doorman *d = arg;
	int fd = sock_accept(d->trio->door_fd, NULL);
	uid_t peer;

	if (fd < 0)
		return;
	peer = door_peer(fd);
	if (peer != 0 && peer != d->trio->uid) {
		close(fd);
		return;
	}
	greet(d, fd);
	if (supervised(d)) {
		close(fd);
		return;
	}
	send_away(d); /* the latest one is meant */
	watch_add(d->loop, &d->suitor, fd, EPOLLIN, suitor_event, d);
}

void doorman_stop(struct doorman *d)
{
	send_away(d);
	watch_remove(d->loop, &d->door);
}

void doorman_start(struct doorman *d, struct loop *loop, struct trio *t, const struct world *world,
		   void (*chosen)(int fd))
{
	*d = (struct doorman){.loop = loop, .trio = t, .world = world, .chosen = chosen};
	d->suitor.fd = d->door.fd = -1;
	if (t->door_fd >= 0 && !atomic_load(&t->retired))
		watch_add(loop, &d->door, t->door_fd, EPOLLIN, door_event, d);
}
