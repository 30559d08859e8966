#include "proxy/cancel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/starttls.h"
#include "os/sock.h"

#define PATIENCE_MS 5000
#define MOST        256 /* under way at a time */

struct call {
	struct loop *loop;
	struct watch watch;
	struct timer timer;
	size_t n;
	uint8_t bytes[TALK_MOST];
};

static unsigned under_way;

static void hang_up(struct call *c)
{
	int fd = c->watch.fd;

	timer_clear(c->loop, &c->timer);
	watch_remove(c->loop, &c->watch);
	close(fd);
	free(c);
	under_way--;
}

static void cancel_timeout(void *arg)
{
	hang_up(arg);
}

static void cancel_event(void *arg, uint32_t events)
{
	struct call *c = arg;

	if (sock_send(c->watch.fd, c->bytes, c->n, 0) != -EAGAIN)
		hang_up(c);
}

static void call(struct loop *l, const struct addr *to, const uint8_t *bytes, size_t n)
{
	struct call *c;
	int fd, rc;

	if (under_way >= MOST || n > TALK_MOST)
		return;
	fd = sock_new_tcp(to->family);
	if (fd < 0)
		return;
	rc = sock_connect(fd, to);
	c = mem_alloc(sizeof(*c));
	*c = (struct call){.loop = l, .watch = {.fd = -1}, .n = n};
	memcpy(c->bytes, bytes, n);
	if ((rc < 0 && rc != -EINPROGRESS) || watch_add(l, &c->watch, fd, EPOLLOUT, cancel_event, c) < 0) {
		close(fd);
		free(c);
		return;
	}
	under_way++;
	timer_set(l, &c->timer, l->now_ms + PATIENCE_MS, cancel_timeout, c);
}

static void call_server(struct loop *l, const struct server *server, const struct target *t, uint16_t port,
                        const uint8_t *bytes, size_t n)
{
	struct addr addrs[TARGET_ADDRS];

	if (server->kind != SERVER_HOST || target_addrs(t, addrs) == 0)
		return;
	addrs[0].port = server->port ? server->port : port;
	call(l, &addrs[0], bytes, n);
}

/* Sections may have the pool in common. */
static bool is_first_with(const struct config *c, const struct section *s)
{
	for (uint32_t i = c->services[s->service].root; i < s->index; i++)
		if (c->sections[i].servers == s->servers)
			return false;
	return true;
}

void cancel_send(struct loop *l, const struct ruleset *rules, struct world *world, uint32_t service, uint16_t port,
                 const uint8_t *bytes, size_t n)
{
	const struct config *c = rules->config;

	for (size_t i = 0; i < c->n_sections; i++) {
		const struct section *s = &c->sections[i];

		if (s->service != service || !s->has_pool || !is_first_with(c, s))
			continue;
		for (size_t k = 0; k < s->n_servers; k++) {
			uint32_t target = rules->pools[i].targets[k];

			if (target < TARGETS_MAX)
				call_server(l, &s->servers[k], &world->targets.list[target], port, bytes, n);
		}
	}
}
