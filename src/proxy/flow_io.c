#include "proxy/flow_io.h"

#include <errno.h>
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
	if (!io->delays || before <= io->start)
		return;
	sock_no_delay(io->dest);
	io->delays = false;
}

enum flow_stop flow_nothing_came(struct flow_io *io, ssize_t n)
{
	if (n == 0)
		return FLOW_END;
	if (n == -EAGAIN)
		return FLOW_EMPTY;
	io->error = (int)-n;
	return FLOW_SOURCE_ERROR;
}

enum flow_stop flow_nothing_went(struct flow_io *io, ssize_t n)
{
	if (n == -EAGAIN)
		return FLOW_FULL;
	io->error = n ? (int)-n : EIO;
	return FLOW_DEST_ERROR;
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
		if (n <= 0)
			return flow_nothing_went(io, n);
		io->progress = true;
		parked -= (int)n;
	}
	flow_give_pipe_back(io);
	return FLOW_EMPTY;
}

enum flow_stop flow_discard(struct flow_io *io)
{
	for (size_t sum = 0; sum < io->budget;) {
		ssize_t n = sock_recv(io->source, io->scratch, io->scratch_len, 0);

		if (n <= 0)
			return flow_nothing_came(io, n);
		FAULT_POINT();
		io->row->moved += (uint64_t)n;
		io->progress = true;
		sum += (size_t)n;
	}
	return FLOW_BUDGET;
}
