/* engine_resume.c - a worker begins with what a dead one has left in the table. */
#include <inttypes.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/log.h"
#include "os/sock.h"
#include "proxy/flow_batch.h"
#include "proxy/session.h"
#include "takeover/recover.h"
#include "takeover/row_state.h"

#define ADOPT_AT_ONCE 64 /* rows in one turn: the others are served meanwhile */

void engine_adopt_some(struct engine *e);

static void count_limits(struct limits_recount *r, const struct row_cold *cold)
{
	for (int k = 0; k < LIMIT_KINDS; k++)
		limits_recount_add(r, cold->limit[k]);
	limits_recount_add(r, cold->wait.key);
}

/* Which rows are free, which are not, and what they count for. */
static void look_through(struct engine *e)
{
	struct trio *t = e->env.trio;
	struct limits_recount recount;
	uint32_t waiting = 0;

	limits_recount_begin(&recount, &e->limits);
	e->n_stacked = 0;
	for (uint32_t i = t->rows_used; i-- > 0;) {
		if (!engine_row_in_use(e, i)) {
			e->free_rows[e->n_stacked++] = i;
			continue;
		}
		if (trio_row(t, i)->state != ROW_TAKING) /* it counts there */
			count_limits(&recount, trio_cold(t, i));
		chain_count(e, i, &recount);
		waiting += trio_row(t, i)->state == ROW_QUEUED || trio_row(t, i)->state == ROW_HELD;
	}
	limits_recount_end(&recount);
	waiting_room_inherit(&e->waiting, waiting);
	atomic_store(&t->live, engine_live(e));
	atomic_store(&e->world->live[e->limits.own], engine_live(e));
}

/* Before anything else is said or done: their numbers of descriptors may be used again otherwise, and
 * whether their records stand in the ring could no longer be told. */
static void finish_endings(struct engine *e)
{
	for (uint32_t i = 0; i < e->env.trio->rows_used; i++) {
		uint8_t state = trio_row(e->env.trio, i)->state;

		if (state == ROW_ENDING || state == ROW_ABORTING)
			engine_take_up(e, i);
	}
}

/* A worker that dies of a fault while it handles a row, and the next one again: it is the row. */
static void look_for_poison(struct engine *e)
{
	struct trio *t = e->env.trio;
	int32_t i = t->working_on;
	struct row_cold *cold;
	char client[ADDR_TEXT_MAX];

	t->working_on = -1;
	if (!atomic_exchange(&t->fault, 0) || i < 0 || (uint32_t)i >= t->n_rows || !engine_row_in_use(e, (uint32_t)i) ||
	    engine_row_moves(e, (uint32_t)i))
		return;
	cold = trio_cold(t, (uint32_t)i);
	if (++cold->faults < 2)
		return;
	log_error("the connection of %s is ended: two workers in a row have died of handling it, id=%" PRIu64,
	          addr_format_port(&cold->client, client), cold->id);
	trio_row(t, (uint32_t)i)->end = END_POISONED;
	row_set_state(trio_row(t, (uint32_t)i), ROW_ABORTING);
	engine_take_up(e, (uint32_t)i);
}

/* Before any pipe is closed. */
static void settle_step(struct engine *e)
{
	struct copy_step *step = &e->env.trio->step;

	if (step->row >= 0)
		flow_settle_pipe(step, &trio_row(e->env.trio, (uint32_t)step->row)->flow[step->side]);
}

/* Bytes of this connection may be in the scratch: they come before everything else that uses it. */
static void finish_step(struct engine *e)
{
	struct copy_step *step = &e->env.trio->step;
	int32_t i = step->row;

	if (i < 0)
		return;
	if (engine_row_in_use(e, (uint32_t)i) && !e->sessions[i].row) {
		e->env.trio->working_on = i;
		engine_take_up(e, (uint32_t)i);
		e->env.trio->working_on = -1;
	}
	if (step->row < 0)
		return;
	/* it has ended */
	pipepool_discard(&step->pipe_read, &step->pipe_write);
	barrier();
	step->row = -1;
}

/* Each may need a pipe: not before it is known which numbers are recorded nowhere. */
static void finish_batch(struct engine *e)
{
	for (unsigned i = 0; i < BATCH_SLOTS; i++)
		if (flow_batch_hand_over(e->env.trio, i))
			finish_step(e);
}

static void adopt_client(void *arg, int fd)
{
	struct engine *e = arg;
	const struct trio_listener *l = recover_listener_of(e->env.trio, fd);

	if (!l || !e->rules || !engine_serve_accepted(e, fd, l->place))
		close(fd);
}

void engine_adopt_some(struct engine *e)
{
	for (int done = 0; e->adopted < e->env.trio->rows_used && done < ADOPT_AT_ONCE; e->adopted++) {
		uint32_t i = e->adopted;

		if (e->sessions[i].row || !engine_row_in_use(e, i) || engine_row_moves(e, i))
			continue;
		e->env.trio->working_on = (int32_t)i;
		engine_take_up(e, i);
		e->env.trio->working_on = -1;
		done++;
	}
	if (e->adopted >= e->env.trio->rows_used)
		waiting_room_settle(&e->waiting);
}

void engine_take_over(struct engine *e)
{
	atomic_uint *receiving = &trio_moves(e->env.trio)->receiving;

	look_through(e);
	FAULT_POINT();
	settle_step(e);
	finish_endings(e);
	moving_recover(e);
	look_for_poison(e);
	FAULT_POINT();
	finish_step(e);
	FAULT_POINT();
	recover_descriptors(e->env.trio, atomic_load(receiving) ? NULL : adopt_client, e);
	finish_batch(e);
	atomic_store(receiving, 0);
	moving_continue(e);
	tapping_recover(e);
	e->adopted = 0;
	loop_replay(&e->loop); /* those that had events first */
	e->loop.busy = true;
}
