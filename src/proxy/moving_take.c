/*
 * moving_take.c - the worker that has room: what it is offered it keeps untouched, until the
 * giver's word says that it is its own.
 */
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "os/pipe.h"
#include "os/sock.h"
#include "proxy/moving_parts.h"
#include "proxy/session.h"
#include "takeover/row_state.h"

void moving_answer(struct engine *e, enum handover_type type, uint32_t serial, uint32_t n)
{
	handover_send(e->env.trio->link_fd, type, serial, &moving_message, n, NULL, 0);
}

static void look_up(struct engine *e, uint32_t i, const struct handover_entry *entry)
{
	struct row_cold *cold = trio_cold(e->env.trio, i);
	struct row *row = trio_row(e->env.trio, i);
	uint32_t service = services_search(&e->world->services, entry->service_port, entry->service_called);

	cold->label = entry->rule[0] ? labels_find(&e->world->labels, entry->rule) : LABEL_NONE;
	cold->target =
	        entry->target[0] ? targets_search(e->world, entry->target, entry->target_called, service) : TARGET_NONE;
	row->service = service < COUNTED_SERVICES ? (uint16_t)service : UINT16_MAX;
	row->server = cold->target < COUNTED_SERVERS ? (uint16_t)cold->target
	              : cold->target == TARGET_NONE  ? UINT16_MAX
	                                             : COUNTED_SERVERS - 1;
	if (entry->name[0]) {
		memcpy(trio_slots(e->env.trio)[i].name, entry->name, CLIENT_NAME_MAX);
		cold->question_count = 1; /* so that it is looked at */
	}
	if (entry->spoken) {
		struct row_said *said = trio_said(e->env.trio, i);

		memcpy(said->sni, entry->sni, sizeof(said->sni));
		memcpy(said->alpn, entry->alpn, sizeof(said->alpn));
		cold->spoken = entry->spoken;
		cold->n_sni = entry->n_sni;
		cold->n_alpn = entry->n_alpn;
	}
	if (entry->n_tlvs > 0) {
		memcpy(trio_tlvs(e->env.trio, i), entry->tlvs, entry->n_tlvs);
		cold->n_tlvs = entry->n_tlvs;
	}
}

/* Its descriptors are what it says; none of them will block. */
static bool is_sound(const struct handover_entry *entry, const int *fds)
{
	size_t n = handover_fds(entry);

	for (enum side s = CLIENT; s <= SERVER; s++)
		if (!sock_is_stream(fds[s]) || (entry->cookie[s] && sock_cookie(fds[s]) != entry->cookie[s]))
			return false;
	for (size_t i = 2; i < n; i++)
		if (pipe_room(fds[i]) < 0)
			return false;
	for (size_t i = 0; i < n; i++)
		sock_never_wait(fds[i]);
	return true;
}

/* Kept untouched, until the giver's word is MOVED. false: no room. */
static bool keep(struct engine *e, struct handover_entry *entry, const int *fds)
{
	struct moving *m = &e->moving;
	uint32_t i;

	if (m->n == HANDOVER_BATCH || !is_sound(entry, fds) || !engine_take_row(e, &i))
		return false;
	handover_unpack(entry, fds, trio_row(e->env.trio, i), trio_cold(e->env.trio, i));
	for (int k = 0; k < LIMIT_KINDS; k++)
		trio_cold(e->env.trio, i)->limit[k] = limit_key_from(entry->limit[k]);
	look_up(e, i, entry);
	move_of(e, i)->source = entry->source;
	row_set_state(trio_row(e->env.trio, i), ROW_TAKING);
	chain_resume(e, i); /* before the giver's is gone: no instant is without one */
	atomic_store(&move_of(e, i)->taken, entry->number);
	FAULT_POINT();
	m->rows[m->n++] = i;
	entry->destination = i;
	return true;
}

void moving_take_rows(struct engine *e, int *fds, size_t n_fds)
{
	size_t used = 0;
	uint32_t kept = 0;

	for (uint32_t k = 0; k < moving_message.head.n; k++) {
		struct handover_entry *entry = &moving_message.entries[k];
		size_t need = handover_fds(entry);

		if (used + need > n_fds)
			break;
		if (peer_given(&e->moving.peer, entry->source) == move_word(entry->number, MOVE_MOVING) &&
		    keep(e, entry, fds + used))
			moving_message.entries[kept++] = *entry;
		else
			for (size_t j = 0; j < need; j++)
				close(fds[used + j]);
		used += need;
	}
	while (used < n_fds)
		close(fds[used++]);
	FAULT_POINT();
	atomic_store(&trio_moves(e->env.trio)->receiving, 0);
	FAULT_POINT();
	moving_answer(e, HANDOVER_TAKEN, moving_message.head.serial, kept);
}

/* It is ours. */
static void run_taken(struct engine *e, uint32_t i)
{
	struct row_cold *cold = trio_cold(e->env.trio, i);

	for (int k = 0; k < LIMIT_KINDS; k++)
		if (cold->limit[k])
			limits_take(&e->limits, cold->limit[k], 0);
	FAULT_POINT();
	row_set_state(trio_row(e->env.trio, i), ROW_RELAY);
	FAULT_POINT();
	atomic_store(&move_of(e, i)->taken, 0); /* from here on it does not count there */
}

void moving_settle_taken(struct engine *e, bool lazily)
{
	struct moving *m = &e->moving;
	uint32_t left = 0;

	for (uint32_t k = 0; k < m->n; k++) {
		uint32_t i = m->rows[k];
		uint64_t number = atomic_load(&move_of(e, i)->taken);
		uint64_t word = m->peer.map ? peer_given(&m->peer, move_of(e, i)->source) : 0;

		if (number && word == move_word(number, MOVE_MOVED)) {
			run_taken(e, i);
			if (!lazily)
				engine_take_up(e, i);
		} else if (number && word == move_word(number, MOVE_MOVING)) {
			m->rows[left++] = i;
		} else {
			moving_close_copies(e, i);
			moving_free_row(e, i);
		}
	}
	m->n = left;
}
