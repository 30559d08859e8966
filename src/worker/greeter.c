#include "worker/greeter.h"

#include <errno.h>
#include <unistd.h>
#include "ipc/wire.h"
#include "os/sock.h"
#include "takeover/keeper.h"

#define TELL_AGAIN_MS 5

static bool supervised(const struct greeter *d)
{
	return trio_supervised() && !atomic_load(&d->trio->leaving);
}

static void close_watch(struct greeter *d, struct watch *w)
{
	int fd = w->fd;

	watch_remove(d->loop, w);
	if (fd >= 0)
		close(fd);
	w->fd = -1;
}

static void send_away(struct greeter *d)
{
	timer_clear(d->loop, &d->tell_timer);
	close_watch(d, &d->candidate);
}

/* Only looked at: our successor, should we die now, finds the word in the socket again. */
static void candidate_event(void *arg, uint32_t events)
{
	struct greeter *d = arg;
	struct wire w;
	int pidfd = -1, fd = d->candidate.fd;
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
	timer_clear(d->loop, &d->tell_timer);
	watch_remove(d->loop, &d->candidate);
	d->candidate.fd = -1;
	d->chosen(fd);
}

static void tell_listeners(void *arg);

/* What does not fit into the socket now is told later: a supervisor without some of its listeners would close them. */
static bool send_later(struct greeter *d, const struct wire *w, const int *fds, size_t n_fds)
{
	int rc = sock_send_message(d->candidate.fd, w, sizeof(*w), fds, n_fds);

	if (rc == -EAGAIN || rc == -ETOOMANYREFS)
		timer_set(d->loop, &d->tell_timer, d->loop->now_ms + TELL_AGAIN_MS, tell_listeners, d);
	return rc == 0;
}

static bool send_listeners(struct greeter *d, const struct wire *w, const int *fds)
{
	return send_later(d, w, fds, w->n);
}

static void tell_stick(struct greeter *d)
{
	d->tell_stick = !send_later(d, &(struct wire){.type = WIRE_STICK}, &d->trio->stick_fd, 1);
}

static void tell_listeners(void *arg)
{
	struct greeter *d = arg;
	const struct trio *t = d->trio;
	struct wire w = {.type = WIRE_LISTEN};
	int fds[WIRE_LISTENERS];

	for (uint32_t i = d->told; i < trio_listeners_used(t); i++) {
		uint32_t id = atomic_load(&t->listeners[i].id);

		if (id == 0)
			continue;
		w.listen.id[w.n] = id;
		w.listen.place[w.n] = t->listeners[i].place;
		fds[w.n++] = t->listeners[i].fd;
		if (w.n < WIRE_LISTENERS)
			continue;
		if (!send_listeners(d, &w, fds))
			return;
		d->told = i + 1;
		w.n = 0;
	}
	if (w.n > 0 && !send_listeners(d, &w, fds))
		return;
	d->told = TRIO_LISTENERS;
	if (d->tell_stick)
		tell_stick(d);
}

static int say_hello(const struct greeter *d, int to)
{
	const struct trio *t = d->trio;
	const int fds[GREETING_FDS] = {t->trio_fd, t->world_fd, t->wake_fd, t->rearm_fd, t->door_fd, t->said_fd};
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
	        .has_stick = t->stick_fd >= 0,
	};

	for (uint32_t i = 0; i < trio_listeners_used(t); i++)
		g.n_listeners += atomic_load(&t->listeners[i].id) != 0;
	return sock_send_message(to, &g, sizeof(g), fds, g.supervised ? 0 : GREETING_FDS);
}

static void greet(struct greeter *d, int fd)
{
	/* a process that gets no greeting comes once more: it may be that too many descriptors are under way */
	if (say_hello(d, fd) < 0 || supervised(d)) {
		close(fd);
		return;
	}
	send_away(d); /* the latest one is meant */
	d->told = 0;
	d->tell_stick = d->trio->stick_fd >= 0;
	if (watch_add(d->loop, &d->candidate, fd, EPOLLIN, candidate_event, d) < 0)
		close(fd);
	else
		tell_listeners(d);
}

static void stranger_event(void *arg, uint32_t events)
{
	struct greeter *d = arg;
	struct wire w;
	int fd = d->stranger.fd;
	int len = sock_recv_message(fd, &w, sizeof(w), NULL, NULL);

	if (len == -EAGAIN || len == -EINTR)
		return;
	if (len != sizeof(w) || w.type != WIRE_KEY || w.key != d->trio->key) {
		close_watch(d, &d->stranger);
		return;
	}
	watch_remove(d->loop, &d->stranger);
	d->stranger.fd = -1;
	greet(d, fd);
}

/* One that says nothing keeps no other out: the next one takes its place. */
static void ask_for_key(struct greeter *d, int fd)
{
	const struct challenge c = {.magic = CHALLENGE_MAGIC};

	close_watch(d, &d->stranger);
	sock_send_message(fd, &c, sizeof(c), NULL, 0);
	if (watch_add(d->loop, &d->stranger, fd, EPOLLIN, stranger_event, d) < 0)
		close(fd);
}

/* Its pid could be another's by now, did its pidfd not say that it lives. */
static bool is_our_supervisor(const struct trio *t, pid_t pid)
{
	return pid > 0 && pid == t->supervisor_pid && trio_supervised();
}

static void knocked(void *arg, int fd)
{
	struct greeter *d = arg;
	pid_t pid;
	uid_t peer = rendezvous_peer(fd, &pid);

	if (peer != 0 && peer != d->trio->uid)
		close(fd);
	else if (peer == 0 || !d->trio->is_private || is_our_supervisor(d->trio, pid))
		greet(d, fd);
	else
		ask_for_key(d, fd);
}

void greeter_stop(struct greeter *d)
{
	send_away(d);
	close_watch(d, &d->stranger);
	acceptor_stop(&d->door);
}

void greeter_start(struct greeter *d, struct loop *loop, struct trio *t, const struct world *world,
                   void (*chosen)(int fd))
{
	*d = (struct greeter){.loop = loop, .trio = t, .world = world, .chosen = chosen};
	d->candidate.fd = d->stranger.fd = d->door.watch.fd = -1;
	if (t->door_fd >= 0 && !atomic_load(&t->retired))
		acceptor_start(&d->door, loop, t->door_fd, "at the door for the next supervisor", knocked, d);
}
