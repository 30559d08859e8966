/* rows.c - the rows of the table, and the sessions that have more to do. */
#include <string.h>
#include "proxy/session.h"

bool engine_row_in_use(const struct engine *e, uint32_t i)
{
	return trio_row(e->env.trio, i)->state != ROW_FREE;
}

bool engine_row_moves(const struct engine *e, uint32_t i)
{
	uint8_t state = trio_row(e->env.trio, i)->state;

	return state == ROW_GIVING || state == ROW_TAKING;
}

void engine_again(struct engine *e, uint32_t row)
{
	struct session *s = &e->sessions[row];

	if (s->queued)
		return;
	s->queued = true;
	e->ready[e->n_ready++] = row;
}

bool engine_take_row(struct engine *e, uint32_t *ret)
{
	struct trio *t = e->env.trio;
	struct row *row;

	if (e->n_stacked > 0) {
		*ret = e->free_rows[--e->n_stacked];
	} else if (t->rows_used < t->n_rows) {
		bool all_adopted = e->adopted == t->rows_used;

		*ret = t->rows_used++;
		if (all_adopted)
			e->adopted = t->rows_used;
	} else {
		return false;
	}
	row = trio_row(e->env.trio, *ret);
	memset(trio_cold(e->env.trio, *ret), 0, sizeof(struct row_cold));
	memset(row, 0, sizeof(*row));
	row->serial = ++e->serial;
	row->service = row->server = UINT16_MAX;
	for (int i = 0; i < 3; i++)
		row->fd[i] = -1;
	for (int i = 0; i < 2; i++)
		row->flow[i].pipe_read = row->flow[i].pipe_write = -1;
	atomic_store_explicit(&e->env.trio->live, engine_live(e), memory_order_relaxed);
	atomic_store_explicit(&e->world->live[e->limits.own], engine_live(e), memory_order_relaxed);
	return true;
}

void engine_row_freed(struct engine *e, uint32_t row)
{
	bool was_full = engine_free_rows(e) == 0;

	e->free_rows[e->n_stacked++] = row;
	atomic_store_explicit(&e->env.trio->live, engine_live(e), memory_order_relaxed);
	atomic_store_explicit(&e->world->live[e->limits.own], engine_live(e), memory_order_relaxed);
	if (was_full || e->paused || atomic_load(&e->world->disarmed[e->limits.own]))
		engine_balance(e);
	if (e->idle && engine_live(e) == 0)
		e->idle(e->idle_arg);
}
