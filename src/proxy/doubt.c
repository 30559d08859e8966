#include "proxy/doubt.h"

#include <errno.h>
#include <unistd.h>
#include "base/log.h"
#include "os/sock.h"

#define PATIENCE_MS 3000
#define PAUSE_MS    10000

void doubt_init(struct doubt *d, struct loop *loop)
{
	*d = (struct doubt){.loop = loop, .watch.fd = -1};
}

static void end(struct doubt *d)
{
	int fd = d->watch.fd;

	timer_clear(d->loop, &d->timer);
	watch_remove(d->loop, &d->watch);
	sock_reset_on_close(fd); /* it was asked for nothing else */
	close(fd);
}

static void tell(const struct doubt *d)
{
	char text[ADDR_TEXT_MAX];

	log_warning("source client: %s answers this machine's own address, but not the clients': no answer comes back: "
	            "is this "
	            "machine its gateway?",
	            addr_format_port(&d->to, text));
}

static void doubt_event(void *arg, uint32_t events)
{
	struct doubt *d = arg;

	if (sock_take_error(d->watch.fd) == 0)
		tell(d);
	end(d);
}

static void doubt_is_over(void *arg)
{
	end(arg);
}

void doubt_ask(struct doubt *d, const struct addr *to)
{
	int fd, rc;

	if (d->watch.fd >= 0 || (d->asked_ms && d->loop->now_ms - d->asked_ms < PAUSE_MS))
		return;
	fd = sock_new_tcp(to->family);
	if (fd < 0)
		return;
	d->asked_ms = d->loop->now_ms;
	d->to = *to;
	rc = sock_connect(fd, to);
	if (rc == 0)
		tell(d);
	if (rc == -EINPROGRESS && watch_add(d->loop, &d->watch, fd, EPOLLOUT, doubt_event, d) == 0)
		timer_set(d->loop, &d->timer, d->loop->now_ms + PATIENCE_MS, doubt_is_over, d);
	else
		close(fd);
}
