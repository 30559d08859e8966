/* last_reader.c - see last_reader.h. */
#include "restart/last_reader.h"

#include <poll.h>
#include <unistd.h>
#include "children/children.h"
#include "children/ring_reader.h"
#include "os/proc.h"

#define LAST_READER_LOOK_MS 1000 /* it is woken for what it reads, but not by a death */

static bool read_all(struct workers *ws)
{
	bool alive = false;

	for (uint32_t i = 0; i < ws->n; i++) {
		struct worker *w = &ws->list[i];
		uint64_t count;

		alive = alive || worker_alive(w); /* before the last look */
		if (read(w->wake_fd, &count, sizeof(count)) < 0)
			count = 0;
		atomic_store(&w->trio->reader_waits, 1);
		worker_drain(w);
	}
	return alive;
}

_Noreturn void last_reader_run(struct children *c)
{
	struct workers *ws = &c->workers;
	struct pollfd p[WORLD_WORKERS];

	proc_title("tcpproxy: last reader");
	for (uint32_t i = 0; i < ws->n; i++)
		p[i] = (struct pollfd){.fd = ws->list[i].wake_fd, .events = POLLIN};
	while (read_all(ws)) {
		if (c->spawner.child.control.fd >= 0 && !spawner_child_hear(&c->spawner))
			c->spawner.child.control.fd = -1;
		poll(p, ws->n, LAST_READER_LOOK_MS);
	}
	_exit(0);
}
