#include "worker/tcp_info.h"

#include "os/sock.h"
#include "proxy/handler.h"

#define ROWS_AT_ONCE 16   /* two system calls each, while the connections wait */
#define LOOK_AT_ONCE 1024 /* most of them may be free, or as they were */

static bool has_ended(const struct row *row)
{
	return (row->flow[CLIENT].flags | row->flow[SERVER].flags) & (FLOW_EOF | FLOW_RESET);
}

/* Nothing has moved since TCP was asked, and nothing was on its way then. */
static bool is_known(const struct row *row, const struct row_tcp_info *info)
{
	return info->serial == row->serial && info->final_ms == row->active_ms && row->state == ROW_RELAY &&
	       !has_ended(row);
}

static void write_one(struct trio *t, uint32_t i, int64_t now_ms)
{
	static const uint8_t is_unix[2] = {ROWFLAG_CLIENT_UNIX, ROWFLAG_SERVER_UNIX};
	struct row *row = trio_row(t, i);
	struct row_tcp_info *to = trio_tcp_info(t, i);
	/* what moves from now on has another time */
	bool settled = row->state == ROW_RELAY && row->active_ms < now_ms;
	struct sock_tcp_info info;

	if (row->state == ROW_HANDLER)
		handler_count(row);
	to->known = 0;
	to->final_ms = 0;
	for (enum side side = CLIENT; side <= SERVER; side++) {
		if (row->fd[side] < 0 || row->flags & is_unix[side] || sock_tcp_info(row->fd[side], &info) < 0)
			continue;
		to->rtt_us[side] = info.rtt_us;
		to->retransmits[side] = info.retransmits;
		to->known |= 1u << side;
		settled &= info.settled;
	}
	if (settled)
		to->final_ms = row->active_ms;
	barrier();
	to->serial = row->serial;
}

static void write_some(void *arg)
{
	struct tcp_info_writer *f = arg;
	uint32_t end = f->next + LOOK_AT_ONCE;

	for (int n = 0; n < ROWS_AT_ONCE && f->next < end; f->next++) {
		const struct row *row;

		if (f->next >= f->trio->rows_used) {
			f->done(f->arg, f->request);
			return;
		}
		row = trio_row(f->trio, f->next);
		if (row->state == ROW_FREE || is_known(row, trio_tcp_info(f->trio, f->next)))
			continue;
		write_one(f->trio, f->next, f->loop->now_ms);
		n++;
	}
	timer_set(f->loop, &f->timer, f->loop->now_ms, write_some, f); /* in the next turn */
}

void tcp_info_write(struct tcp_info_writer *f, struct loop *loop, struct trio *trio, uint64_t request,
                    void (*done)(void *arg, uint64_t request), void *arg)
{
	f->loop = loop;
	f->trio = trio;
	f->request = request;
	f->done = done;
	f->arg = arg;
	f->next = 0;
	write_some(f);
}
