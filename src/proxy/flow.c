#include "proxy/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fault.h"
#include "os/pipe.h"
#include "os/sock.h"

void flow_give_pipe_back(struct flow_io *io)
{
	if (io->row->pipe_foreign)
		pipepool_discard(&io->row->pipe_read, &io->row->pipe_write);
	else
		pipepool_give(io->pool, &io->row->pipe_read, &io->row->pipe_write);
	io->row->pipe_foreign = 0;
}

void flow_hurry(struct flow_io *io, uint64_t before)
{
	if (!io->delays || before == 0)
		return;
	sock_no_delay(io->dest);
	io->delays = false;
}

enum flow_stop flow_drain(struct flow_io *io)
{
	int parked;

	if (io->row->pipe_read < 0)
		return FLOW_EMPTY;
	parked = pipe_filled(io->row->pipe_read);
	flow_hurry(io, io->row->moved);
	while (parked > 0) {
		ssize_t n = pipe_splice(io->row->pipe_read, io->dest, (size_t)parked);

		FAULT_POINT();
		if (n == -EAGAIN || n == -EINTR)
			return FLOW_FULL;
		if (n < 0) {
			io->error = (int)-n;
			return FLOW_DEST_ERROR;
		}
		io->progress = true;
		parked -= (int)n;
	}
	flow_give_pipe_back(io);
	return FLOW_EMPTY;
}

enum flow_stop flow_discard(struct flow_io *io)
{
	for (size_t sum = 0; sum < io->budget;) {
		ssize_t n = recv(io->source, io->scratch, io->scratch_len, MSG_DONTWAIT);

		if (n == 0)
			return FLOW_END;
		if (n < 0) {
			io->error = errno;
			return errno == EAGAIN || errno == EINTR ? FLOW_EMPTY : FLOW_SOURCE_ERROR;
		}
		FAULT_POINT();
		io->row->moved += (uint64_t)n;
		io->progress = true;
		sum += (size_t)n;
	}
	return FLOW_BUDGET;
}

/* ---- which way ---- */

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
