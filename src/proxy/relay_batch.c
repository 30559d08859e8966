/*
 * relay_batch.c - a relay that has nothing but a small message to pass on, together with many others.
 */
#include <errno.h>
#include "proxy/flow_batch.h"
#include "proxy/relay_parts.h"

/* Of an event that says anything else, or of a direction that wants more than to be copied, the relay itself must know. */
bool relay_batchable(const struct relay *r, enum side s, uint32_t events, struct flow_batch_item *ret)
{
	const struct row *row = r->row;
	const struct flow_row *flow = &row->flow[s], *back = &row->flow[other(s)];
	struct trio *t = r->owner->env->trio;
	struct flow_tap *tap = r->owner->env->tap;

	if ((events & ~(uint32_t)EPOLLOUT) != EPOLLIN || !r->side[CLIENT].writable || !r->side[SERVER].writable)
		return false;
	if (row->state != ROW_RELAY ||
	    row->flags & (ROWFLAG_CLIENT_UNIX | ROWFLAG_SERVER_UNIX | ROWFLAG_CLIENT_RESET | ROWFLAG_SERVER_RESET))
		return false;
	if ((flow->flags | back->flags) != 0 || flow->pipe_read >= 0 || back->pipe_read >= 0)
		return false;
	if (!r->side[s].habit.small || r->side[s].urgent || r->side[s].hung_up || r->side[s].closed)
		return false;
	if (s == CLIENT && !r->no_delay)
		return false; /* to be set before the second message */
	if (tap && tap->wants(tap, row_index(t, row)))
		return false;
	*ret = (struct flow_batch_item){.row = (int32_t)row_index(t, row),
	                                .side = (uint8_t)s,
	                                .source = row->fd[s],
	                                .dest = row->fd[other(s)],
	                                .flow = &r->row->flow[s]};
	return true;
}

bool relay_batched(struct relay *r, const struct flow_batch_item *item)
{
	enum side s = item->side;

	if (item->lost) {
		relay_lose(r, "its peer takes nothing now, and no pipe can be had for what is on the way");
		return false;
	}
	if (item->taken < 0 && item->taken != -EAGAIN && item->taken != -EINTR)
		relay_note_error(r, s, false, -item->taken);
	if (item->taken <= 0)
		return false;
	r->row->active_ms = r->owner->env->loop->now_ms;
	if (item->taken >= BATCH_ROOM)
		r->side[s].habit.small = false; /* there may be more, and will be again */
	else if (item->sent == item->taken)
		return true; /* what comes next makes an event of its own */
	if (item->sent < 0 && item->sent != -EAGAIN && item->sent != -EINTR)
		relay_note_error(r, other(s), true, -item->sent);
	return false;
}
