#include "proxy/flow.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fault.h"
#include "os/pipe.h"

/* A program's stdout that became a parked pipe is closed when it is empty: some child may still hold
 * its other end. */
static void give_back(struct flow_io *io)
{
	if (io->row->pipe_foreign)
		pipepool_discard(&io->row->pipe_read, &io->row->pipe_write);
	else
		pipepool_give(io->pool, &io->row->pipe_read, &io->row->pipe_write);
	io->row->pipe_foreign = 0;
}

enum flow_stop flow_drain(struct flow_io *io)
{
	while (io->row->pipe_read >= 0) {
		ssize_t n;

		if (pipe_filled(io->row->pipe_read) == 0) {
			give_back(io);
			break;
		}
		n = pipe_splice(io->row->pipe_read, io->dest, PIPEPOOL_SIZE);
		FAULT_POINT();
		if (n == -EAGAIN || n == -EINTR)
			return FLOW_FULL;
		if (n < 0) {
			io->error = (int)-n;
			return FLOW_DEST_ERROR;
		}
		io->progress = true;
	}
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
