#include "children/sticks.h"

#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "children/workers.h"

/* The largest: others were not told of it yet when their supervisor died. */
void sticks_adopt(struct workers *ws)
{
	for (uint32_t i = 0; i < ws->orphans.n; i++) {
		struct orphan *o = &ws->orphans.list[i];
		struct stick found;

		if (o->stick_fd < 0 || !stick_map(o->stick_fd, &found))
			continue;
		if (ws->stick.memory && found.size <= ws->stick.size) {
			stick_unmap(&found);
			continue;
		}
		if (ws->stick.memory)
			stick_unmap(&ws->stick);
		ws->stick = found;
		ws->stick_fd = o->stick_fd;
		ws->stick_number = 1;
	}
	for (uint32_t i = 0; i < ws->orphans.n; i++) {
		struct orphan *o = &ws->orphans.list[i];

		if (o->stick_fd >= 0 && (!ws->stick.memory || o->stick_fd != ws->stick_fd))
			close(o->stick_fd);
		o->stick_fd = -1;
	}
}

void sticks_take(struct workers *ws, const struct config *c)
{
	uint64_t clients = config_stick_clients(c);
	struct stick more;
	int fd;

	if (clients > STICK_CLIENTS_MAX) {
		log_warning("all \"stick\" together are to remember %llu clients: %u are, those that were here last",
		            (unsigned long long)clients, STICK_CLIENTS_MAX);
		clients = STICK_CLIENTS_MAX;
	}
	if (clients == 0 || (ws->stick.memory && stick_size((uint32_t)clients) <= ws->stick.size))
		return;
	fd = stick_new((uint32_t)clients, &ws->stick, &more);
	if (fd < 0) {
		log_error("memory for %llu clients that are to stick to their servers cannot be made: %s",
		          (unsigned long long)clients, strerror(-fd));
		return;
	}
	if (ws->stick.memory) {
		stick_unmap(&ws->stick);
		close(ws->stick_fd);
	}
	ws->stick = more;
	ws->stick_fd = fd;
	ws->stick_number++;
}
