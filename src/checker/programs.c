#include "checker/programs.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "os/sock.h"
#include "program/check_question.h"

#define ANSWERS_PER_TURN 64

struct programs {
	struct loop *loop;
	struct watch watch; /* fd -1: there is no spawner */
	programs_fn *fn;
	void *arg;
	uint64_t last; /* number given */
	uint64_t open[CHECK_PROGRAMS_MAX];
	size_t n;
};

struct programs *programs_new(struct loop *loop, programs_fn *fn, void *arg)
{
	struct programs *p = mem_alloc(sizeof(*p));

	*p = (struct programs){.loop = loop, .watch.fd = -1, .fn = fn, .arg = arg};
	return p;
}

/* False: it is none of those that are asked. */
static bool settle(struct programs *p, uint64_t number)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->open[i] == number) {
			p->open[i] = p->open[--p->n];
			return true;
		}
	return false;
}

static void close_channel(struct programs *p)
{
	int fd = p->watch.fd;

	if (fd < 0)
		return;
	watch_remove(p->loop, &p->watch);
	close(fd);
	p->watch.fd = -1;
	while (p->n > 0) {
		uint64_t number = p->open[--p->n];

		p->fn(p->arg, number, false, 0, "");
	}
}

static void programs_event(void *arg, uint32_t events)
{
	struct programs *p = arg;

	(void)events;
	for (int i = 0; i < ANSWERS_PER_TURN && p->watch.fd >= 0; i++) {
		struct check_reply r;
		int n = sock_recv_message(p->watch.fd, &r, sizeof(r), NULL, NULL);

		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n != sizeof(r)) {
			close_channel(p);
			return;
		}
		r.line[sizeof(r.line) - 1] = '\0';
		if (settle(p, r.serial))
			p->fn(p->arg, r.serial, r.kind == CHECK_RAN, r.status, r.line);
	}
}

void programs_channel(struct programs *p, int fd)
{
	close_channel(p);
	if (watch_add(p->loop, &p->watch, fd, EPOLLIN, programs_event, p) < 0)
		close(fd);
	else
		p->watch.fd = fd;
}

uint64_t programs_run(struct programs *p, const struct asked *k, uint64_t generation, const struct addr *at,
                      uint32_t timeout_ms)
{
	struct check_question q = {.serial = p->last + 1,
	                           .generation = generation,
	                           .section = k->section->index,
	                           .server = (uint32_t)(k->server - k->section->servers),
	                           .line = k->number,
	                           .timeout_ms = timeout_ms,
	                           .state = k->pulse.state,
	                           .port = k->server_port,
	                           .at = at ? *at : (struct addr){.family = AF_UNSPEC}};

	if (p->watch.fd < 0 || p->n == CHECK_PROGRAMS_MAX || sock_send_message(p->watch.fd, &q, sizeof(q), NULL, 0) < 0)
		return 0;
	p->open[p->n++] = q.serial;
	return p->last = q.serial;
}
