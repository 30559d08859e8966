/*
 * pages.h - what each path of the page answers, out of snapshots and the history; what may steer is
 * handed to the supervisor, with the words of tcpproxyctl.
 *
 *   GET  /                 the page
 *   GET  /metrics          the text format of Prometheus
 *   GET  /api/status       services, servers, pools, workers
 *   GET  /api/connections  ?search=WORDS &sort=COLUMN &limit=N
 *   GET  /api/history      ?since=SECONDS
 *   GET  /api/errors       ?since=SERIAL
 *   GET  /api/config       the configuration in force; without the token, without values of `env`
 *   POST /api/command      a command, with the token
 */
#ifndef PAGE_PAGES_H
#define PAGE_PAGES_H

#include "page/http.h"
#include "stats/history.h"
#include "stats/snapshot.h"

struct pages_ops {
	void *arg;
	struct loop *loop;
	const struct history *history;
	/* tcp: what TCP says is wanted, too; it is there the next time. The caller frees
	 * it. */
	struct snapshot *(*look)(void *arg, bool connections, bool tcp);
	/* Of all services together: enum end by enum end (COUNTED_ENDS). */
	void (*count_ends)(void *arg, uint64_t *ret);
	/* secrets: for a client that has shown the token. */
	void (*config_text)(void *arg, bool secrets, struct buf *out);
	/* A connection to the admin socket's commands, for this client of ours, which the caller closes; -errno. */
	int (*command_channel)(void *arg, const struct addr *client);
};

/* For http_setup.request: arg is a struct pages_ops. */
void pages_dispatch(void *arg, struct http_request *r);

#endif
