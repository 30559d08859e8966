/*
 * moving_give.c - the worker that has too many connections, or is to end: it offers some of them, a
 * batch at a time, and lets go of those that the other has taken.
 */
#include <string.h>
#include "base/fault.h"
#include "os/sock.h"
#include "proxy/ask.h"
#include "proxy/ejecting.h"
#include "proxy/moving_parts.h"
#include "proxy/recording.h"
#include "proxy/session.h"
#include "takeover/announced.h"
#include "takeover/row_state.h"

#define TAKE_BACK_MS         50   /* the taker is stopped: no connection waits longer for it */
#define MOVING_GIVE_AGAIN_MS 100  /* nothing can be moved now: look again */
#define SETTLED_MS           1000 /* a connection that lives so long will probably live on */

static uint64_t given_number(struct engine *e, uint32_t i)
{
	return atomic_load(&move_of(e, i)->given) >> 2;
}

static void moving_give_tick(void *arg);

static void wait_ms(struct engine *e, int64_t ms)
{
	timer_set(&e->loop, &e->moving.timer, e->loop.now_ms + ms, moving_give_tick, e);
}

/* Only a death loses one: then the taker's successor says that it is new. */
static void tell(struct engine *e, enum handover_type type, uint32_t n, const int *fds, size_t n_fds)
{
	uint32_t serial = atomic_fetch_add(&trio_moves(e->env.trio)->serial, 1) + 1;

	if (serial == 0) /* means something else */
		serial = atomic_fetch_add(&trio_moves(e->env.trio)->serial, 1) + 1;
	e->moving.serial = serial;
	if (handover_send(e->env.trio->link_fd, type, serial, &moving_message, n, fds, n_fds) < 0)
		wait_ms(e, MOVING_GIVE_AGAIN_MS);
}

void moving_take_back(struct engine *e, uint32_t i)
{
	atomic_store(&move_of(e, i)->given, 0);
	row_set_state(trio_row(e->env.trio, i), ROW_RELAY);
}

/* It goes on counting here until it counts there: another worker would take its place meanwhile. */
static void commit(struct engine *e, uint32_t i, uint32_t destination)
{
	move_of(e, i)->destination = destination;
	barrier();
	FAULT_POINT();
	atomic_store(&move_of(e, i)->given, move_word(given_number(e, i), MOVE_MOVED));
	barrier();
	FAULT_POINT();
	chain_forget(e, i);
	moving_close_copies(e, i);
	e->env.trio->link_given++;
}

void moving_settle_given(struct engine *e)
{
	struct moving *m = &e->moving;
	uint32_t left = 0;

	for (uint32_t k = 0; k < m->n; k++) {
		uint32_t i = m->rows[k];

		if (given_state(e, i) != MOVE_MOVED) {
			moving_take_back(e, i);
			engine_take_up(e, i);
		} else if (m->peer.map && peer_has_taken(&m->peer, move_of(e, i)->destination, i, given_number(e, i))) {
			m->rows[left++] = i;
		} else {
			for (int kind = 0; kind < LIMIT_KINDS; kind++)
				limits_give_kind(&e->limits, trio_cold(e->env.trio, i), kind);
			FAULT_POINT();
			moving_free_row(e, i);
		}
	}
	m->n = left;
}

static bool may_go(struct engine *e, uint32_t i)
{
	const struct row *row = trio_row(e->env.trio, i);
	int64_t now = e->loop.now_ms;

	if (row->state != ROW_RELAY || !e->sessions[i].row || row->fd[SECOND] >= 0 ||
	    (row->flow[CLIENT].flags | row->flow[SERVER].flags) & FLOW_DISCARD ||
	    row->flags & (ROWFLAG_CLIENT_RESET | ROWFLAG_SERVER_RESET))
		return false;
	if (e->env.trio->link_which == LINK_ALL)
		return true;
	if (now - trio_cold(e->env.trio, i)->connected_us / 1000 < SETTLED_MS)
		return false;
	return e->env.trio->link_which == LINK_SETTLED || now - row->active_ms < SETTLED_MS;
}

/* From here on no event of it is handled by us. */
static void offer(struct engine *e, uint32_t i)
{
	struct row *row = trio_row(e->env.trio, i);
	uint64_t number = atomic_fetch_add(&trio_moves(e->env.trio)->last, 1) + 1;

	FAULT_POINT();
	atomic_store(&move_of(e, i)->given, move_word(number, MOVE_MOVING));
	row_set_state(row, ROW_GIVING);
	relay_cancel(&e->sessions[i].relay);
	recording_stop(&e->sessions[i]);
	ejecting_stop(&e->sessions[i]);
	for (enum side s = CLIENT; s <= SERVER; s++)
		loop_remove(&e->loop, row->fd[s]);
	FAULT_POINT();
}

/* Cut, if it must be. The entry is all zero. */
static void put(char *to, size_t size, const char *text)
{
	size_t len = strlen(text);

	memcpy(to, text, len < size ? len : size - 1);
}

static void describe(struct engine *e, uint32_t i, struct handover_entry *entry)
{
	const struct row_cold *cold = trio_cold(e->env.trio, i);
	const char *rule = labels_text(&e->world->labels, cold->label);
	const struct target *target = cold->target < TARGETS_MAX ? &e->world->targets.list[cold->target] : NULL;
	uint16_t number = trio_row(e->env.trio, i)->service;
	const struct known_service *service = number < COUNTED_SERVICES ? &e->world->services.list[number] : NULL;

	entry->number = given_number(e, i);
	entry->service_port = service ? service->number : 0;
	put(entry->service_called, sizeof(entry->service_called), service ? service->called : "");
	put(entry->rule, sizeof(entry->rule), rule ? rule : "");
	put(entry->target, sizeof(entry->target), target ? target->key : "");
	put(entry->target_called, sizeof(entry->target_called), target ? target->called : "");
	ask_name(e->env.trio, i, cold, entry->name);
	entry->spoken = cold->spoken;
	entry->n_sni = cold->n_sni;
	entry->n_alpn = cold->n_alpn;
	if (cold->spoken) {
		memcpy(entry->sni, trio_said(e->env.trio, i)->sni, sizeof(entry->sni));
		memcpy(entry->alpn, trio_said(e->env.trio, i)->alpn, sizeof(entry->alpn));
	}
	entry->n_tlvs = (uint16_t)announced_pick(e->env.trio, i, cold, entry->tlvs);
}

/* The next rows that may go, as many as one message takes. */
static void choose(struct engine *e)
{
	struct moving *m = &e->moving;
	struct trio *t = e->env.trio;

	for (uint32_t looked = 0; looked < t->rows_used && m->n < HANDOVER_BATCH && m->n < t->link_quota; looked++) {
		if (m->cursor >= t->rows_used)
			m->cursor = 0;
		if (may_go(e, m->cursor))
			m->rows[m->n++] = m->cursor;
		m->cursor++;
	}
}

uint32_t moving_half_of_busy(struct engine *e)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < e->env.trio->rows_used; i++)
		n += may_go(e, i);
	return n / 2;
}

/* One that cannot go now may do so later. */
static bool more_may_come(struct engine *e)
{
	for (uint32_t i = 0; i < e->env.trio->rows_used; i++)
		switch (trio_row(e->env.trio, i)->state) {
		case ROW_ACCEPTED:
		case ROW_PREAMBLE:
		case ROW_SNIFFING:
		case ROW_VERDICT:
		case ROW_RESOLVE:
		case ROW_CONNECTING:
		case ROW_RELAY:
		case ROW_QUEUED:
		case ROW_HELD:
			return true;
		default: /* a program's, or nearly over */
			break;
		}
	return false;
}

static void give_some(struct engine *e)
{
	struct moving *m = &e->moving;
	struct trio *t = e->env.trio;
	int fds[HANDOVER_BATCH * HANDOVER_FDS];
	size_t n_fds = 0;

	choose(e);
	if (m->n == 0) {
		bool all = t->link_which == LINK_ALL && t->link_quota == UINT32_MAX;

		if (all && more_may_come(e)) {
			wait_ms(e, MOVING_GIVE_AGAIN_MS);
			return;
		}
		tell(e, HANDOVER_END, 0, NULL, 0);
		moving_end_link(e, all);
		return;
	}
	for (uint32_t k = 0; k < m->n; k++) {
		offer(e, m->rows[k]);
		n_fds += handover_pack(t, m->rows[k], &moving_message.entries[k], fds + n_fds);
		describe(e, m->rows[k], &moving_message.entries[k]);
	}
	if (t->link_quota != UINT32_MAX)
		t->link_quota -= m->n;
	tell(e, HANDOVER_ROWS, m->n, fds, n_fds);
	FAULT_POINT();
	wait_ms(e, TAKE_BACK_MS);
}

/* The taker has looked at all our words, and reads. One that is new may still have rows of its
 * predecessor's: it is to look first. */
void moving_taker_is_open(struct engine *e)
{
	if (moving_message.head.serial != e->moving.serial && moving_message.head.serial != 0)
		return;
	timer_clear(&e->loop, &e->moving.timer);
	moving_settle_given(e);
	if (moving_message.head.serial == 0)
		tell(e, HANDOVER_LOOK, 0, NULL, 0);
	else if (e->moving.n > 0 || e->adopted < e->env.trio->rows_used)
		wait_ms(e, 1); /* not all is settled, or we have just begun ourselves */
	else
		give_some(e);
}

/* The taker keeps these: they are its own now. The others of the batch it has no room for. */
void moving_taken(struct engine *e)
{
	if (moving_message.head.serial != e->moving.serial)
		return;
	for (uint32_t k = 0; k < moving_message.head.n; k++) {
		const struct handover_entry *t = &moving_message.entries[k];

		if (t->source < e->env.trio->n_rows && trio_row(e->env.trio, t->source)->state == ROW_GIVING &&
		    atomic_load(&move_of(e, t->source)->given) == move_word(t->number, MOVE_MOVING) &&
		    peer_has_taken(&e->moving.peer, t->destination, t->source, t->number))
			commit(e, t->source, t->destination);
	}
	if (moving_message.head.n < e->moving.n)
		e->env.trio->link_quota = 0;
	timer_clear(&e->loop, &e->moving.timer);
	moving_settle_given(e);
	tell(e, HANDOVER_LOOK, 0, NULL, 0);
}

/* The taker does not answer, or there was nothing to do. */
static void moving_give_tick(void *arg)
{
	struct engine *e = arg;

	moving_settle_given(e);
	tell(e, HANDOVER_LOOK, 0, NULL, 0);
}

void moving_begin_giving(struct engine *e)
{
	tell(e, HANDOVER_ASK, 0, NULL, 0);
}
