/*
 * Look, send, take: the bytes stay in the source's receive queue until the destination's send queue has
 * them. A crash between send and take leaves bytes in both; how many is told by the counters of both
 * sockets.
 */
#include <errno.h>
#include <sys/socket.h>
#include "base/check.h"
#include "base/fault.h"
#include "proxy/flow.h"

/* Takes n bytes that were seen. TCP throws them away in the kernel; other sockets must copy. */
static void take(struct flow_io *io, size_t n)
{
	while (n > 0) {
		ssize_t taken = io->source_tcp
					? recv(io->source, NULL, n, MSG_DONTWAIT | MSG_TRUNC)
					: recv(io->source, io->scratch, n, MSG_DONTWAIT);

		if (taken < 0 && errno == EINTR)
			continue;
		CHECK(taken > 0); /* they were there, and nobody else reads */
		n -= (size_t)taken;
	}
}

enum flow_stop flow_peek(struct flow_io *io)
{
	while (io->budget > 0) {
		ssize_t seen = recv(io->source, io->scratch, io->scratch_len,
				    MSG_PEEK | MSG_DONTWAIT);
		ssize_t sent;

		if (seen == 0)
			return FLOW_END;
		if (seen < 0) {
			io->error = errno;
			return errno == EAGAIN || errno == EINTR ? FLOW_EMPTY : FLOW_SOURCE_ERROR;
		}
		flow_hurry(io, io->row->moved);
		sent = send(io->dest, io->scratch, (size_t)seen, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0) {
			io->error = errno;
			FAULT_POINT();
			return errno == EAGAIN || errno == EINTR ? FLOW_FULL : FLOW_DEST_ERROR;
		}
		FAULT_POINT();
		if (io->tap)
			io->tap->bytes(io->tap, (uint32_t)io->step_row, io->step_side, io->scratch,
				       (size_t)sent);
		take(io, (size_t)sent);
		FAULT_POINT();
		io->row->moved += (uint64_t)sent;
		io->moved += (size_t)sent;
		io->progress = true;
		io->budget -= (size_t)sent < io->budget ? (size_t)sent : io->budget;
		if (sent < seen)
			return FLOW_FULL;
		/* that was all: what comes next makes an event of its own */
		if ((size_t)seen < io->scratch_len && !io->to_the_end)
			return FLOW_EMPTY;
	}
	return FLOW_BUDGET;
}
