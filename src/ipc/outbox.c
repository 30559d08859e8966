#include "ipc/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"

#define OUTBOX_AGAIN_MS 20

struct outbox_message {
	struct outbox_message *next;
	struct wire wire;
	size_t n_fds;
	int fds[SOCK_MAX_FDS];
};

void outbox_init(struct outbox *o, struct loop *l, struct watch *w, void (*emptied)(void *arg), void *arg)
{
	*o = (struct outbox){.loop = l, .watch = w, .emptied = emptied, .arg = arg};
	o->last = &o->first;
}

bool outbox_is_empty(const struct outbox *o)
{
	return !o->first;
}

static void close_fds(struct outbox_message *m)
{
	while (m->n_fds > 0)
		close(m->fds[--m->n_fds]);
}

static void drop_first(struct outbox *o)
{
	struct outbox_message *m = o->first;

	o->first = m->next;
	if (!o->first)
		o->last = &o->first;
	o->n--;
	close_fds(m);
	free(m);
}

/* Only the latest of these counts: an earlier one that still waits need not be said. */
static bool supersedes(uint32_t type)
{
	switch (type) {
	case WIRE_TARGETS:
	case WIRE_TCP_INFO:
	case WIRE_CHANNEL:
	case WIRE_QUIT:
	case WIRE_STOP:
	case WIRE_REEXEC:
	case WIRE_SAID:
	case WIRE_STICK:
	case WIRE_STDERR_IS:
	case WIRE_ADOPTED:
	case WIRE_IDLE:
	case WIRE_IMBALANCE:
	case WIRE_EJECTED:
	case WIRE_TCP_INFO_WRITTEN:
	case WIRE_SYNCED:
		return true;
	default:
		return false;
	}
}

/* To the spawner go channels of several trios, whose number is in `generation`. */
static struct outbox_message *waiting(const struct outbox *o, const struct wire *w)
{
	struct outbox_message *m = supersedes(w->type) ? o->first : NULL;

	while (m && (m->wire.type != w->type || (w->type == WIRE_CHANNEL && m->wire.trio != w->trio)))
		m = m->next;
	return m;
}

static int copy_fds(struct outbox_message *m, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		m->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (m->fds[i] < 0) {
			int error = errno;

			close_fds(m);
			return -error;
		}
		m->n_fds = i + 1;
	}
	return 0;
}

static int queue(struct outbox *o, const struct wire *w, const int *fds, size_t n_fds)
{
	struct outbox_message *old = waiting(o, w), fresh = {.wire = *w};
	int rc;

	if (!old && o->n == OUTBOX_MAX)
		return -ENOBUFS;
	rc = copy_fds(&fresh, fds, n_fds);
	if (rc < 0)
		return rc;
	if (old) {
		close_fds(old);
		fresh.next = old->next;
		*old = fresh;
		return 0;
	}
	*o->last = mem_alloc(sizeof(fresh));
	**o->last = fresh;
	o->last = &(*o->last)->next;
	o->n++;
	return 0;
}

/* Too many descriptors are under way in sockets (of one user: more than one of its processes may have open), or there
 * is no memory: that passes, but no event tells when, and there may be room in the socket all the time. */
static bool passes_unseen(int rc)
{
	return rc == -ETOOMANYREFS || rc == -ENOBUFS || rc == -ENOMEM;
}

static void outbox_try_again(void *arg)
{
	outbox_flush(arg);
}

/* Until the first can be sent, which has just failed with rc. The end of the other side is told by the reading. */
static void await(struct outbox *o, int rc)
{
	watch_change(o->loop, o->watch, rc == -EAGAIN ? EPOLLIN | EPOLLOUT : EPOLLIN);
	if (passes_unseen(rc))
		timer_set(o->loop, &o->timer, o->loop->now_ms + OUTBOX_AGAIN_MS, outbox_try_again, o);
}

int outbox_send(struct outbox *o, const struct wire *w, const int *fds, size_t n_fds)
{
	int sent, rc;

	if (!o->watch || o->watch->fd < 0)
		return -EPIPE;
	if (!outbox_is_empty(o))
		return queue(o, w, fds, n_fds);
	sent = sock_send_message(o->watch->fd, w, sizeof(*w), fds, n_fds);
	if (sent != -EAGAIN && !passes_unseen(sent))
		return sent;
	rc = queue(o, w, fds, n_fds);
	if (rc == 0)
		await(o, sent);
	return rc;
}

void outbox_flush(struct outbox *o)
{
	while (o->first) {
		struct outbox_message *m = o->first;
		int rc = sock_send_message(o->watch->fd, &m->wire, sizeof(m->wire), m->fds, m->n_fds);

		if (rc < 0) {
			await(o, rc);
			return;
		}
		drop_first(o);
	}
	watch_change(o->loop, o->watch, EPOLLIN);
	if (o->emptied)
		o->emptied(o->arg);
}

void outbox_clear(struct outbox *o)
{
	if (o->loop)
		timer_clear(o->loop, &o->timer);
	while (o->first)
		drop_first(o);
}
