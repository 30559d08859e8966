/*
 * Through a pipe: bytes are in the source, in the pipe or in the destination, and each step between
 * them is one step of the kernel. The pipe is always empty before the source is asked, so "nothing
 * now" can only mean the source.
 */
#include <errno.h>
#include "base/fault.h"
#include "os/pipe.h"
#include "proxy/flow.h"

enum flow_stop flow_splice(struct flow_io *io)
{
	enum flow_stop stop = flow_drain(io);

	while (stop == FLOW_EMPTY && io->budget > 0) {
		ssize_t n;

		if (io->row->pipe_read < 0 &&
		    pipepool_take(io->pool, &io->row->pipe_read, &io->row->pipe_write) < 0)
			return FLOW_NO_PIPE;
		FAULT_POINT();
		n = pipe_splice(io->source, io->row->pipe_write, PIPEPOOL_SIZE);
		FAULT_POINT();
		if (n <= 0) {
			pipepool_give(io->pool, &io->row->pipe_read, &io->row->pipe_write);
			if (n == 0)
				return FLOW_END;
			io->error = (int)-n;
			if (n == -EINVAL) /* a kind of socket that cannot be spliced */
				return FLOW_NO_PIPE;
			return n == -EAGAIN || n == -EINTR ? FLOW_EMPTY : FLOW_SOURCE_ERROR;
		}
		io->row->moved += (uint64_t)n;
		FAULT_POINT();
		io->moved += (size_t)n;
		io->budget -= (size_t)n < io->budget ? (size_t)n : io->budget;
		io->progress = true;
		stop = flow_drain(io);
	}
	return stop == FLOW_EMPTY ? FLOW_BUDGET : stop;
}
