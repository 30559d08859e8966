#include "proxy/moving_parts.h"

#include <errno.h>
#include <unistd.h>
#include "base/fault.h"
#include "os/sock.h"
#include "proxy/session.h"
#include "takeover/recover.h"

/* The other side is through, or all its processes are gone: what it has not made ours is not ours. */
static void link_is_over(struct engine *e)
{
	if (e->env.trio->link_role == LINK_GIVES) {
		peer_unmap(&e->moving.peer);
		moving_settle_given(e);
	} else {
		moving_settle_taken(e, false);
		for (uint32_t k = 0; k < e->moving.n; k++) {
			moving_close_copies(e, e->moving.rows[k]);
			moving_free_row(e, e->moving.rows[k]);
		}
		e->moving.n = 0;
	}
	moving_end_link(e, false);
}

static void dispatch(struct engine *e, int *fds, size_t n_fds)
{
	bool gives = e->env.trio->link_role == LINK_GIVES;

	if (!gives && moving_message.head.type == HANDOVER_ROWS) {
		moving_take_rows(e, fds, n_fds);
		return;
	}
	while (n_fds > 0) /* nothing else brings any */
		close(fds[--n_fds]);
	if (gives && moving_message.head.type == HANDOVER_OPEN) {
		moving_taker_is_open(e);
	} else if (gives && moving_message.head.type == HANDOVER_TAKEN) {
		moving_taken(e);
	} else if (!gives && (moving_message.head.type == HANDOVER_ASK || moving_message.head.type == HANDOVER_LOOK)) {
		moving_settle_taken(e, false);
		moving_answer(e, HANDOVER_OPEN, moving_message.head.serial, 0);
	} else if (!gives && moving_message.head.type == HANDOVER_END) {
		link_is_over(e);
	}
}

static void link_event(void *arg, uint32_t events)
{
	struct engine *e = arg;
	atomic_uint *receiving = &trio_moves(e->env.trio)->receiving;

	for (int n = 0; n < 4 && e->env.trio->link_fd >= 0; n++) {
		int fds[HANDOVER_BATCH * HANDOVER_FDS];
		size_t n_fds;
		int rc;

		/* copies in no row look like accepted clients: a successor must know */
		atomic_store(receiving, e->env.trio->link_role == LINK_TAKES);
		rc = handover_recv(e->env.trio->link_fd, &moving_message, fds, &n_fds);
		FAULT_POINT();
		if (rc != 1 || moving_message.head.type != HANDOVER_ROWS)
			atomic_store(receiving, 0);
		if (rc == 1)
			dispatch(e, fds, n_fds);
		if (rc == 0 || rc == -ECONNRESET)
			link_is_over(e);
		if (rc <= 0)
			return;
	}
}

void moving_begin(struct engine *e, enum link_role role, enum link_which which, uint32_t quota, int link, int peer_fd)
{
	struct trio *t = e->env.trio;

	if (t->link_fd >= 0) { /* said twice, because the worker that was told first has died; or one too many */
		close(link);
		close(peer_fd);
		return;
	}
	t->link_role = (uint8_t)role;
	t->link_which = (uint8_t)which;
	t->link_quota = role == LINK_GIVES && which == LINK_BUSY ? moving_half_of_busy(e) : quota;
	t->link_given = 0;
	t->link_peer_fd = peer_fd;
	barrier();
	FAULT_POINT();
	t->link_fd = link;
	FAULT_POINT();
	moving_continue(e);
}

void moving_continue(struct engine *e)
{
	struct moving *m = &e->moving;
	struct trio *t = e->env.trio;

	if (t->link_fd < 0)
		return;
	if ((!m->peer.map && peer_map(&m->peer, t->link_peer_fd) < 0) ||
	    watch_add(&e->loop, &m->link, t->link_fd, EPOLLIN, link_event, e) < 0) {
		link_is_over(e);
		return;
	}
	if (t->link_role == LINK_TAKES) {
		moving_answer(e, HANDOVER_OPEN, 0, 0);
		return;
	}
	moving_begin_giving(e);
}

void moving_recover(struct engine *e)
{
	struct moving *m = &e->moving;
	struct trio *t = e->env.trio;

	if (t->link_fd >= 0)
		peer_map(&m->peer, t->link_peer_fd);
	for (uint32_t i = 0; i < t->rows_used; i++) {
		uint8_t state = trio_row(t, i)->state;

		if (state != ROW_TAKING)
			atomic_store(&move_of(e, i)->taken, 0);
		if (state == ROW_GIVING && given_state(e, i) == MOVE_MOVED)
			moving_close_copies(e, i);
		else if (state == ROW_GIVING)
			moving_take_back(e, i);
		else if (state != ROW_TAKING)
			atomic_store(&move_of(e, i)->given, 0);
		state = trio_row(t, i)->state;
		if ((state == ROW_GIVING || state == ROW_TAKING) && m->n < HANDOVER_BATCH)
			m->rows[m->n++] = i;
	}
	if (t->link_role == LINK_TAKES || t->link_fd < 0)
		moving_settle_taken(e, true);
}

void moving_stop(struct engine *e)
{
	if (e->env.trio->link_fd >= 0)
		link_is_over(e);
}
