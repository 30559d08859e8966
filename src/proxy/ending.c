#include "proxy/ending.h"

#include <unistd.h>
#include "base/fault.h"
#include "os/sock.h"

/* Once, whoever dies in between: if the ring has grown since the mark, it is in there. */
void ending_record(struct session *s)
{
	struct trio *t = s->engine->env.trio;
	struct record_message m;
	size_t len;

	if (s->row->flags & ROWFLAG_RECORDED)
		return;
	FAULT_POINT();
	if (s->cold->ring_mark == 0) {
		s->cold->ring_mark = ring_head(trio_ring(t)) + 1;
		barrier();
	}
	FAULT_POINT();
	if (s->cold->ring_mark == ring_head(trio_ring(t)) + 1) {
		len = accesslog_fill(t, s->engine->world, s->index, RECORD_CLOSE, &m);
		if (!m.record.unwanted || s->engine->setup.all_records)
			s->engine->setup.message(s->engine->setup.arg, MESSAGE_RECORD, &m, len);
	}
	tapping_ended(s);
	barrier();
	FAULT_POINT();
	s->row->flags |= ROWFLAG_RECORDED;
	FAULT_POINT();
}

void ending_close(struct session *s, bool reset)
{
	struct row *row = s->row;

	for (int i = 0; i < 3; i++) {
		int fd = row->fd[i];

		if (fd < 0)
			continue;
		if (i == SECOND && row->cookie[SECOND] == 0) {
			row->fd[i] = -1; /* a pidfd: the number may be a keeper's as soon as it is free */
			close(fd);
			continue;
		}
		/* close first, forget later: a successor adopts accepted sockets that no row knows */
		if (reset && i != SECOND)
			sock_reset_on_close(fd);
		FAULT_POINT();
		close(fd);
		FAULT_POINT();
		row->fd[i] = -1;
		FAULT_POINT();
	}
	for (int i = 0; i < 2; i++)
		pipepool_discard(&row->flow[i].pipe_read, &row->flow[i].pipe_write);
}
