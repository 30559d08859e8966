/*
 * Look, send, take: the bytes stay in the source's receive queue until the destination's send queue has
 * them. A crash between send and take leaves bytes in both; how many is told by the counters of both
 * sockets.
 */
#include <sys/socket.h>
#include "base/check.h"
#include "base/fault.h"
#include "os/sock.h"
#include "proxy/flow.h"

/* Takes n bytes that were seen. TCP throws them away in the kernel; other sockets must copy. */
static void take(struct flow_io *io, size_t n)
{
	while (n > 0) {
		ssize_t taken = io->source_tcp ? sock_recv(io->source, NULL, n, MSG_TRUNC)
		                               : sock_recv(io->source, io->scratch, n, 0);

		CHECK(taken > 0); /* they were there, and nobody else reads */
		n -= (size_t)taken;
	}
}

enum flow_stop flow_peek(struct flow_io *io)
{
	while (io->budget > 0) {
		ssize_t seen = sock_recv(io->source, io->scratch, io->scratch_len, MSG_PEEK);
		ssize_t sent;

		if (seen <= 0)
			return flow_nothing_came(io, seen);
		flow_hurry(io, io->row->moved);
		sent = sock_send(io->dest, io->scratch, (size_t)seen, 0);
		FAULT_POINT();
		if (sent <= 0)
			return flow_nothing_went(io, sent);
		if (io->tap)
			io->tap->bytes(io->tap, (uint32_t)io->step_row, io->step_side, io->scratch, (size_t)sent);
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
