/*
 * Through the scratch: take, send, and park at once what was not sent. Between two steps nothing is in memory.
 *
 *   store            a death after it leaves
 *   step.row         nothing taken, or bytes in the scratch: as many as the source's counters are ahead of the
 *                    destination's and of the pipe
 *   (spare pipe)     parked bytes in a pipe that no row has: it is the step's
 *   row.pipe_write   half a pair: the same
 *   row.pipe_read    the same; the pipe is the row's, too
 *   step.pipe_*      parked bytes of the row's
 *   row.moved        everything done, the step open
 *   step.row = -1    nothing
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/check.h"
#include "base/fault.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "proxy/flow.h"

static void open_step(struct flow_io *io)
{
	io->step->side = io->step_side;
	barrier();
	io->step->row = io->step_row;
	barrier();
	FAULT_POINT();
}

static void close_step(struct flow_io *io, size_t n)
{
	FAULT_POINT();
	io->row->moved += n;
	barrier();
	FAULT_POINT();
	io->step->row = -1;
	barrier();
	FAULT_POINT();
}

/* The spare pipe becomes the row's. */
static void attach(struct copy_step *step, struct flow_row *row)
{
	row->pipe_foreign = pipe_room(step->pipe_read) < PIPEPOOL_LEAST;
	row->pipe_write = step->pipe_write;
	barrier();
	FAULT_POINT();
	row->pipe_read = step->pipe_read;
	barrier();
	FAULT_POINT();
	step->pipe_read = -1;
	barrier();
	FAULT_POINT();
	step->pipe_write = -1;
	barrier();
}

void flow_settle_pipe(struct copy_step *step, struct flow_row *row)
{
	bool rows = row->pipe_read >= 0 && row->pipe_write >= 0;

	if (!rows)
		row->pipe_read = row->pipe_write = -1;
	if (step->pipe_read < 0 || step->pipe_write < 0 || (rows && step->pipe_read == row->pipe_read))
		step->pipe_read = step->pipe_write = -1;
	barrier();
}

static void park(struct copy_step *step, struct flow_row *row, const char *data, size_t n)
{
	int pipe = row->pipe_write >= 0 ? row->pipe_write : step->pipe_write;

	while (n > 0) {
		ssize_t put = TEMP_FAILURE_RETRY(write(pipe, data, n));

		FAULT_POINT();
		CHECK(put > 0); /* an empty pipe has room for the whole scratch, a small one for a slot */
		data += put;
		n -= (size_t)put;
	}
	if (row->pipe_write < 0)
		attach(step, row);
}

void flow_finish_copy(struct copy_step *step, struct flow_row *row, const char *scratch, size_t n, size_t rest)
{
	park(step, row, scratch + n - rest, rest);
}

static void learn(struct flow_habit *habit, size_t n)
{
	habit->small = n < BATCH_ROOM;
	habit->against = (n >= FLOW_LARGE ? habit->against + 1 : 0) & 0x3f;
	if (habit->against >= FLOW_LARGE_ONES)
		*habit = (struct flow_habit){.bulk = true};
}

enum flow_stop flow_copy(struct flow_io *io)
{
	if (!pipepool_spare(io->pool, io->step))
		return FLOW_OTHER_WAY;
	while (io->budget > 0) {
		ssize_t taken, sent;
		size_t n;

		open_step(io);
		taken = sock_recv(io->source, io->scratch, io->scratch_len, 0);
		if (taken <= 0) {
			close_step(io, 0);
			return flow_nothing_came(io, taken);
		}
		FAULT_POINT();
		n = (size_t)taken;
		if (io->tap)
			io->tap->bytes(io->tap, (uint32_t)io->step_row, io->step_side, io->scratch, n);
		flow_hurry(io, io->row->moved);
		/* the FIN that follows at once goes with the last segment, and sends what waits for it */
		sent = sock_send(io->dest, io->scratch, n, io->ends ? MSG_MORE : 0);
		if (sent < 0 && sent != -EAGAIN) {
			close_step(io, n);
			return flow_nothing_went(io, sent);
		}
		FAULT_POINT();
		if (sent < taken)
			park(io->step, io->row, io->scratch + (sent > 0 ? sent : 0), n - (size_t)(sent > 0 ? sent : 0));
		close_step(io, n);
		io->moved += n;
		io->progress = true;
		io->budget -= n < io->budget ? n : io->budget;
		learn(io->habit, n);
		if (sent < taken)
			return FLOW_FULL;
		/* that was all: what comes next makes an event of its own */
		if (n < io->scratch_len && !io->to_the_end)
			return FLOW_EMPTY;
		if (io->habit->bulk)
			return FLOW_OTHER_WAY;
	}
	return FLOW_BUDGET;
}
