/*
 * Through a pipe: bytes are in the source, in the pipe or in the destination, and each step between
 * them is one step of the kernel. The pipe is always empty before the source is asked, so "nothing
 * now" can only mean the source. A short splice does not mean that it is empty: a pipe is full after so
 * many segments, not bytes.
 */
#include <errno.h>
#include "base/fault.h"
#include "os/pipe.h"
#include "proxy/flow.h"

static void learn(struct flow_habit *habit, size_t n)
{
	habit->against = (n < FLOW_SMALL ? habit->against + 1 : 0) & 0x3f;
	if (habit->against >= FLOW_SMALL_ONES)
		*habit = (struct flow_habit){0};
}

/* n bytes are in the pipe. */
static enum flow_stop push(struct flow_io *io, size_t n)
{
	while (n > 0) {
		ssize_t sent = pipe_splice(io->row->pipe_read, io->dest, n);

		FAULT_POINT();
		if (sent <= 0)
			return flow_nothing_went(io, sent);
		io->progress = true;
		n -= (size_t)sent;
	}
	return FLOW_EMPTY;
}

/* The pipe is empty; n is what the source answered. */
static enum flow_stop nothing_came(struct flow_io *io, ssize_t n)
{
	flow_give_pipe_back(io);
	if (n == -EINVAL) { /* a kind of socket that cannot be spliced */
		*io->habit = (struct flow_habit){0};
		return FLOW_OTHER_WAY;
	}
	return flow_nothing_came(io, n);
}

enum flow_stop flow_splice(struct flow_io *io)
{
	bool choice = io->source_tcp && io->dest_tcp; /* there are other ways */

	while (io->budget > 0) {
		enum flow_stop stop;
		ssize_t n;

		if (io->row->pipe_read < 0 && pipepool_take(io->pool, io->row, !choice) < 0)
			return FLOW_OTHER_WAY;
		FAULT_POINT();
		n = pipe_splice(io->source, io->row->pipe_write, PIPEPOOL_SIZE);
		FAULT_POINT();
		if (n <= 0)
			return nothing_came(io, n);
		if (io->tap)
			io->tap->piped(io->tap, (uint32_t)io->step_row, io->step_side, io->row->pipe_read, (size_t)n);
		flow_hurry(io, io->row->moved);
		io->row->moved += (uint64_t)n;
		FAULT_POINT();
		io->moved += (size_t)n;
		io->budget -= (size_t)n < io->budget ? (size_t)n : io->budget;
		io->progress = true;
		stop = push(io, (size_t)n);
		if (stop != FLOW_EMPTY)
			return stop;
		learn(io->habit, (size_t)n);
		if (choice && !io->habit->bulk) {
			flow_give_pipe_back(io);
			return FLOW_OTHER_WAY;
		}
	}
	flow_give_pipe_back(io);
	return FLOW_BUDGET;
}
