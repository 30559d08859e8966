#include "proxy/flow.h"

#include <stdlib.h>
#include <string.h>

enum way { WAY_COPY, WAY_SPLICE, WAY_PEEK };

#ifdef FAULTS
/* For the tests: one way only, as far as it can go. */
static bool forced(enum way *ret)
{
	static const char *const names[] = {"copy", "splice", "peek"};
	const char *name = getenv("TCPPROXY_FLOW");

	for (int i = 0; name && i < 3; i++)
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum way)i;
			return true;
		}
	return false;
}
#else
static bool forced(enum way *ret)
{
	(void)ret;
	return false;
}
#endif

static enum way choose(const struct flow_io *io)
{
	bool counters = io->source_tcp && io->dest_tcp;
	enum way way = WAY_COPY;

	if (!counters)
		way = WAY_SPLICE;
	else if (!forced(&way) && io->habit->bulk)
		way = WAY_SPLICE;
	if (way == WAY_SPLICE && io->no_splice)
		way = counters ? WAY_COPY : WAY_PEEK;
	if (way == WAY_COPY && io->no_copy)
		way = WAY_PEEK;
	return way;
}

enum flow_stop flow_move(struct flow_io *io)
{
	enum flow_stop stop = flow_drain(io);
	enum way way;

	if (stop != FLOW_EMPTY || io->row->flags & FLOW_EOF)
		return stop;
	way = choose(io);
	stop = way == WAY_COPY ? flow_copy(io) : way == WAY_SPLICE ? flow_splice(io) : flow_peek(io);
	if (stop != FLOW_OTHER_WAY)
		return stop;
	/* the habit has changed, and the way with it; or there was no pipe for it */
	if (io->moved > 0)
		return FLOW_BUDGET;
	return flow_peek(io);
}
