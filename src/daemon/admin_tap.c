/* admin_tap.c - somebody wants to look at connections: the workers are handed rings to write to,
 * and the reader the same rings to read. No byte of a client passes through here. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "admin/commands.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/ring.h"
#include "base/tap.h"
#include "daemon/supervisor.h"
#include "os/shm.h"

#define PLACES (SOCK_MAX_FDS - 1) /* workers that can be looked into: one ring each, and a socket  \
	                           */

int tap_new(uint32_t n_workers, int *ret)
{
	uint32_t n = n_workers < PLACES ? n_workers : PLACES;
	int pair[2];
	void *map;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ret[0] = pair[0];
	ret[n + 1] = pair[1];
	for (uint32_t i = 0; i < n; i++) {
		ret[i + 1] = shm_new("tcpproxy-tap", ring_size(TAP_RING), &map);
		if (ret[i + 1] < 0) {
			int error = ret[i + 1];

			while (i-- > 0)
				close(ret[i + 1]);
			close(pair[0]);
			close(pair[1]);
			return error;
		}
		ring_init(map, TAP_RING);
		munmap(map, ring_size(TAP_RING));
	}
	return (int)n + 1;
}

/* Numbers never come twice, whoever is the supervisor. */
uint64_t tap_number(void)
{
	static uint64_t last;
	uint64_t now = (uint64_t)clock_wall_us();

	last = now > last ? now : last + 1;
	return last;
}

void tap_tell(struct crew *c, uint64_t number, const struct tap_filter *filter, int wake_fd,
              int ring_fd)
{
	struct wire w = {.type = WIRE_TAP, .generation = number};
	int fds[2] = {wake_fd, ring_fd};

	memcpy(w.ids, filter, sizeof(*filter));
	crew_send(c, &w, fds, 2);
}

/* false: there is no such server. */
static bool translate(struct supervisor *s, const struct connection_filter *from,
                      struct tap_filter *ret)
{
	struct connection_filter as_client = {0};
	char word[ADDR_TEXT_MAX + 8];

	*ret = (struct tap_filter){.id = from->id,
	                           .port = from->port,
	                           .client_port = from->client_port,
	                           .client = from->client,
	                           .target = UINT32_MAX};
	if (!from->server)
		return true;
	ret->target = targets_find(&s->world->targets, from->server);
	if (ret->target != TARGET_NONE)
		return true;
	/* by its address, which is written like a client's */
	if (snprintf(word, sizeof(word), "client=%s", from->server) >= (int)sizeof(word) ||
	    connection_filter_word(&as_client, word) || as_client.client_port == 0)
		return false;
	ret->server = as_client.client.net;
	ret->server.port = as_client.client_port;
	return true;
}

/* Somebody who has not been told yet where to read. */
struct viewer {
	struct admin_client *client; /* NULL: it has left */
	int n, fds[SOCK_MAX_FDS + 1];
};

static void viewer_left(void *arg)
{
	((struct viewer *)arg)->client = NULL;
}

/* All workers write: what comes from now on is seen. */
static void workers_know(void *arg, struct snapshot *shot)
{
	struct viewer *v = arg;

	log_info("tcpproxyctl looks at connections");
	if (v->client)
		admin_answer_fds(v->client, v->fds, (size_t)v->n);
	for (int i = 0; i < v->n; i++)
		close(v->fds[i]);
	free(v);
	snapshot_free(shot);
}

void admin_tap(struct supervisor *s, struct admin_client *c, const struct connection_filter *filter)
{
	uint64_t number = tap_number();
	struct tap_filter translated;
	struct viewer *v;

	if (!translate(s, filter, &translated)) {
		admin_error(c, "\"%s\" is no server of the configuration, and no ADDRESS:PORT",
		            filter->server);
		return;
	}
	v = mem_alloc(sizeof(*v));
	v->client = c;
	v->n = tap_new(s->n_crews, v->fds);
	if (v->n < 0) {
		admin_error(c, "making room for what is seen: %s", strerror(-v->n));
		free(v);
		return;
	}
	for (int i = 1; i < v->n; i++)
		tap_tell(&s->crews[i - 1], number, &translated, v->fds[v->n], v->fds[i]);
	close(v->fds[v->n]);
	admin_on_leave(c, viewer_left, v);
	admin_ask_workers(s, workers_know, v);
}
