/* moving_rows.c - what becomes of a row that has moved, and of a link that is over. */
#include <unistd.h>
#include "base/fault.h"
#include "proxy/moving_parts.h"
#include "takeover/recover.h"
#include "takeover/row_state.h"

struct handover_message moving_message;

void moving_close_copies(struct engine *e, uint32_t i)
{
	struct row *row = trio_row(e->env.trio, i);

	for (enum side s = CLIENT; s <= SERVER; s++) {
		if (recover_is_ours(row, s)) {
			FAULT_POINT();
			close(row->fd[s]); /* close first, forget later: see session_end.c */
			FAULT_POINT();
		}
		row->fd[s] = -1;
		pipepool_discard(&row->flow[s].pipe_read, &row->flow[s].pipe_write);
	}
}

void moving_free_row(struct engine *e, uint32_t i)
{
	chain_forget(e, i);
	row_set_state(trio_row(e->env.trio, i), ROW_FREE);
	atomic_store(&move_of(e, i)->given, 0);
	atomic_store(&move_of(e, i)->taken, 0);
	engine_row_freed(e, i);
}

void moving_end_link(struct engine *e, bool whole)
{
	struct trio *t = e->env.trio;
	int link = t->link_fd, peer = t->link_peer_fd;
	bool gave = t->link_role == LINK_GIVES;

	timer_clear(&e->loop, &e->moving.timer);
	watch_remove(&e->loop, &e->moving.link);
	peer_unmap(&e->moving.peer);
	t->link_role = LINK_NONE;
	t->link_fd = t->link_peer_fd = -1;
	FAULT_POINT();
	if (link >= 0)
		close(link);
	if (peer >= 0)
		close(peer);
	if (gave && e->moving.ended)
		e->moving.ended(e->moving.arg, t->link_given, whole);
}
