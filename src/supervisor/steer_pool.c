/* steer_pool.c - a pool is changed by tcpproxyctl, who hears of it when every worker goes by it. */
#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

struct waiting_client {
	struct admin_client *client; /* NULL: it has gone */
	struct buf text;
};

static void pool_client_left(void *arg)
{
	((struct waiting_client *)arg)->client = NULL;
}

static void in_force(void *arg, const char *missing)
{
	struct waiting_client *w = arg;

	if (missing)
		buf_addf(&w->text, "not yet for %s: no answer (stopped?)\n", missing);
	if (w->client)
		admin_answer(w->client, 0, &w->text);
	buf_release(&w->text);
	free(w);
}

void steer_pool(struct supervisor *s, struct admin_client *c,
                bool (*change)(struct supervisor *s, const char *service, const char *server, struct buf *text),
                const char *service, const char *server)
{
	const char *refused = phase_refuses(s->phase, REQUEST_RELOAD);
	struct waiting_client *w;
	struct buf text = BUF_INIT;

	if (refused || !change(s, service, server, &text)) {
		admin_error(c, "%s", refused ? refused : text.s);
		buf_release(&text);
		return;
	}
	log_info("tcpproxyctl: %s", text.s);
	buf_addc(&text, '\n');
	w = mem_alloc(sizeof(*w));
	*w = (struct waiting_client){c, text};
	admin_on_leave(c, pool_client_left, w);
	told_wait(&s->children.workers, in_force, w);
}
