#include "event/acceptor.h"

#include <errno.h>
#include "base/log.h"
#include "os/sock.h"

#define BATCH 16 /* in one event: the others have their turn, too */

static void apply(struct acceptor *a)
{
	watch_change(a->loop, &a->watch, a->held || a->timer.place ? 0 : EPOLLIN);
}

static void go_on(void *arg)
{
	apply(arg); /* its timer has fired, so it pauses no longer */
}

static void pause_accepting(struct acceptor *a, int error)
{
	if (!a->told)
		log_error("accepting %s: %s: whoever comes waits", a->what, sock_shortage_text(error));
	a->told = true;
	timer_set(a->loop, &a->timer, a->loop->now_ms + ACCEPTOR_PAUSE_MS, go_on, a);
	apply(a);
}

static void acceptor_listener_event(void *arg, uint32_t events)
{
	struct acceptor *a = arg;

	for (int n = 0; n < BATCH && a->watch.fd >= 0 && !a->held; n++) {
		int fd = sock_accept(a->watch.fd, NULL);

		if (fd < 0) {
			if (sock_is_shortage(-fd))
				pause_accepting(a, -fd);
			return;
		}
		a->told = false;
		a->accepted(a->arg, fd);
	}
}

int acceptor_start(struct acceptor *a, struct loop *l, int fd, const char *what, void (*accepted)(void *arg, int fd),
                   void *arg)
{
	*a = (struct acceptor){.loop = l, .what = what, .accepted = accepted, .arg = arg};
	return watch_add(l, &a->watch, fd, EPOLLIN, acceptor_listener_event, a);
}

void acceptor_hold(struct acceptor *a, bool hold)
{
	a->held = hold;
	if (a->watch.fd >= 0)
		apply(a);
}

void acceptor_stop(struct acceptor *a)
{
	if (!a->loop || a->watch.fd < 0)
		return;
	timer_clear(a->loop, &a->timer);
	watch_remove(a->loop, &a->watch);
}
