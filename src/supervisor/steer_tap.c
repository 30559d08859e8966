/* steer_tap.c - a client wants to look at connections: the workers are handed rings to write to,
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
#include "children/tap.h"
#include "os/shm.h"
#include "supervisor/inspect.h"
#include "supervisor/meant.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

static bool translate_service(struct supervisor *s, const char *word, uint32_t *ret, struct buf *why)
{
	struct meant m = meant_services(s->children.workers.world, s->rules.config, word);
	bool found = m.n > 0;

	if (found)
		*ret = m.list[0] + 1; /* names are unique */
	else
		buf_addf(why, "there is no service \"%s\" (see status)", word);
	meant_release(&m);
	return found;
}

/* By its address, which is written like a client's. */
static bool translate_address(const char *word, struct tap_filter *ret)
{
	struct connection_filter as_client = {0};
	char filter[ADDR_TEXT_MAX + 8];

	if (snprintf(filter, sizeof(filter), "client=%s", word) >= (int)sizeof(filter) ||
	    connection_filter_word(&as_client, filter) || as_client.client_port == 0)
		return false;
	ret->server = as_client.client.net;
	ret->server.port = as_client.client_port;
	return true;
}

static bool translate_server(struct supervisor *s, const struct connection_filter *from, struct tap_filter *ret,
                             struct buf *why)
{
	struct meant m = meant_servers(s->children.workers.world, s->rules.config, from->service, from->server);
	bool done = m.n == 1;

	if (done)
		ret->target = m.list[0];
	else
		done = translate_address(from->server, ret);
	if (!done && m.n > 1)
		buf_addf(why, "\"%s\" is a server of several services: say which, by service=", from->server);
	else if (!done)
		buf_addf(why, "\"%s\" is no server of the configuration, and no ADDRESS:PORT", from->server);
	meant_release(&m);
	return done;
}

/* false: `why` says what there is not. */
static bool translate(struct supervisor *s, const struct connection_filter *from, struct tap_filter *ret,
                      struct buf *why)
{
	*ret = (struct tap_filter){.id = from->id,
	                           .port = from->port,
	                           .client_port = from->client_port,
	                           .client = from->client,
	                           .via_port = from->via_port,
	                           .via = from->via,
	                           .target = UINT32_MAX};
	return (!from->service || translate_service(s, from->service, &ret->service, why)) &&
	       (!from->server || translate_server(s, from, ret, why));
}

/* A client that has not been told yet where to read. */
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

void steer_tap(struct supervisor *s, struct admin_client *c, const struct connection_filter *filter)
{
	uint64_t number = tap_number();
	struct tap_filter translated;
	struct buf why = BUF_INIT;
	struct viewer *v;

	if (!translate(s, filter, &translated, &why)) {
		admin_error(c, "%s", why.s);
		buf_release(&why);
		return;
	}
	v = mem_alloc(sizeof(*v));
	v->client = c;
	v->n = tap_new(s->children.workers.n, v->fds);
	if (v->n < 0) {
		admin_error(c, "making room for what is seen: %s", strerror(-v->n));
		free(v);
		return;
	}
	for (int i = 1; i < v->n; i++)
		tap_tell(&s->children.workers.list[i - 1], number, &translated, v->fds[v->n], v->fds[i]);
	close(v->fds[v->n]);
	admin_on_leave(c, viewer_left, v);
	inspect_look(s, false, true, workers_know, v);
}
