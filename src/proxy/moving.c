#include "proxy/moving.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/fault.h"
#include "os/sock.h"
#include "proxy/ask.h"
#include "proxy/recording.h"
#include "proxy/session.h"
#include "takeover/recover.h"

#define TAKE_BACK_MS 50   /* the taker is stopped: no connection waits longer for it */
#define AGAIN_MS     100  /* nothing can be moved now: look again */
#define SETTLED_MS   1000 /* a connection that lives so long will probably live on */

static struct handover_message message; /* one is written or read at a time */

static struct move *move_of(struct engine *e, uint32_t i)
{
	return &trio_moves(e->env.trio)->rows[i];
}

static enum move_state given_state(struct engine *e, uint32_t i)
{
	return (enum move_state)(atomic_load(&move_of(e, i)->given) & 3);
}

static uint64_t given_number(struct engine *e, uint32_t i)
{
	return atomic_load(&move_of(e, i)->given) >> 2;
}

static void tick(void *arg);

static void wait_ms(struct engine *e, int64_t ms)
{
	timer_set(&e->loop, &e->moving.timer, e->loop.now_ms + ms, tick, e);
}

/* The giver's. Only a death loses one: then the taker's successor says that it is new. */
static void tell(struct engine *e, enum handover_type type, uint32_t n, const int *fds,
                 size_t n_fds)
{
	uint32_t serial = atomic_fetch_add(&trio_moves(e->env.trio)->serial, 1) + 1;

	if (serial == 0) /* means something else */
		serial = atomic_fetch_add(&trio_moves(e->env.trio)->serial, 1) + 1;
	e->moving.serial = serial;
	if (handover_send(e->env.trio->link_fd, type, serial, &message, n, fds, n_fds) < 0)
		wait_ms(e, AGAIN_MS);
}

/* The taker's, to the giver's message of this serial. */
static void answer(struct engine *e, enum handover_type type, uint32_t serial, uint32_t n)
{
	handover_send(e->env.trio->link_fd, type, serial, &message, n, NULL, 0);
}

/* ---- the giver ---- */

/* It has left nothing behind that could end a stream: the taker's copies stay open. */
static void close_copies(struct engine *e, uint32_t i)
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

static void free_row(struct engine *e, uint32_t i)
{
	FAULT_POINT();
	trio_row(e->env.trio, i)->state = ROW_FREE;
	barrier();
	FAULT_POINT();
	atomic_store(&move_of(e, i)->given, 0);
	atomic_store(&move_of(e, i)->taken, 0);
	engine_row_freed(e, i);
}

/* Nobody else has it, whatever comes: the taker sees that the word is another. */
static void take_back(struct engine *e, uint32_t i)
{
	atomic_store(&move_of(e, i)->given, 0);
	barrier();
	FAULT_POINT();
	trio_row(e->env.trio, i)->state = ROW_RELAY;
	FAULT_POINT();
}

static void commit(struct engine *e, uint32_t i, uint32_t destination)
{
	struct row_cold *cold = trio_cold(e->env.trio, i);

	move_of(e, i)->destination = destination;
	barrier();
	FAULT_POINT();
	atomic_store(&move_of(e, i)->given, move_word(given_number(e, i), MOVE_MOVED));
	barrier();
	FAULT_POINT();
	for (int k = 0; k < LIMIT_KINDS; k++) {
		limits_give(&e->limits, cold->limit[k]);
		cold->limit[k] = 0;
	}
	close_copies(e, i);
	e->env.trio->link_given++;
}

/* Rows that were offered or given: what has become of them? Those that the taker has not let go of
 * yet stay. */
static void settle_given(struct engine *e)
{
	struct moving *m = &e->moving;
	uint32_t left = 0;

	for (uint32_t k = 0; k < m->n; k++) {
		uint32_t i = m->rows[k];

		if (given_state(e, i) != MOVE_MOVED) {
			take_back(e, i);
			engine_take_up(e, i);
		} else if (m->peer.map && peer_has_taken(&m->peer, move_of(e, i)->destination, i,
		                                         given_number(e, i))) {
			m->rows[left++] = i;
		} else {
			free_row(e, i);
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
	barrier();
	FAULT_POINT();
	row->state = ROW_GIVING;
	barrier();
	FAULT_POINT();
	relay_cancel(&e->sessions[i].relay);
	recording_stop(&e->sessions[i]);
	for (enum side s = CLIENT; s <= SERVER; s++)
		loop_remove(&e->loop, row->fd[s]);
	FAULT_POINT();
}

static void describe(struct engine *e, uint32_t i, struct handover_entry *entry)
{
	const struct row_cold *cold = trio_cold(e->env.trio, i);
	const char *rule = labels_text(&e->world->labels, cold->label);
	const char *target =
	    cold->target < TARGETS_MAX ? e->world->targets.list[cold->target].key : "";

	uint16_t service = trio_row(e->env.trio, i)->service;

	entry->number = given_number(e, i);
	if (service < COUNTED_SERVICES)
		entry->service_port = e->world->services.list[service].first_port;
	strncpy(entry->rule, rule ? rule : "", sizeof(entry->rule) - 1);
	strncpy(entry->target, target, sizeof(entry->target) - 1);
	strncpy(entry->name, ask_name(e->env.trio, i, cold), sizeof(entry->name) - 1);
}

/* The next rows that may go, as many as one message takes. */
static void choose(struct engine *e)
{
	struct moving *m = &e->moving;
	struct trio *t = e->env.trio;

	for (uint32_t looked = 0;
	     looked < t->rows_used && m->n < HANDOVER_BATCH && m->n < t->link_quota; looked++) {
		if (m->cursor >= t->rows_used)
			m->cursor = 0;
		if (may_go(e, m->cursor))
			m->rows[m->n++] = m->cursor;
		m->cursor++;
	}
}

/* Half of what is busy is to stay. */
static uint32_t half_of_busy(struct engine *e)
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
		case ROW_VERDICT:
		case ROW_RESOLVE:
		case ROW_CONNECTING:
		case ROW_RELAY:
			return true;
		default: /* a program's, or nearly over */
			break;
		}
	return false;
}

static void end_link(struct engine *e, bool whole);

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
			wait_ms(e, AGAIN_MS);
			return;
		}
		tell(e, HANDOVER_END, 0, NULL, 0);
		end_link(e, all);
		return;
	}
	for (uint32_t k = 0; k < m->n; k++) {
		offer(e, m->rows[k]);
		n_fds += handover_pack(t, m->rows[k], &message.entries[k], fds + n_fds);
		describe(e, m->rows[k], &message.entries[k]);
	}
	if (t->link_quota != UINT32_MAX)
		t->link_quota -= m->n;
	tell(e, HANDOVER_ROWS, m->n, fds, n_fds);
	FAULT_POINT();
	wait_ms(e, TAKE_BACK_MS);
}

/* The taker has looked at all our words, and reads. One that is new may still have rows of its
 * predecessor's: it is to look first. */
static void taker_is_open(struct engine *e)
{
	if (message.head.serial != e->moving.serial && message.head.serial != 0)
		return;
	timer_clear(&e->loop, &e->moving.timer);
	settle_given(e);
	if (message.head.serial == 0)
		tell(e, HANDOVER_LOOK, 0, NULL, 0);
	else if (e->moving.n > 0 || e->adopted < e->env.trio->rows_used)
		wait_ms(e, 1); /* not all is settled, or we have just begun ourselves */
	else
		give_some(e);
}

/* The taker keeps these: they are its own now. The others of the batch it has no room for. */
static void taken(struct engine *e)
{
	if (message.head.serial != e->moving.serial)
		return;
	for (uint32_t k = 0; k < message.head.n; k++) {
		const struct handover_entry *t = &message.entries[k];

		if (t->source < e->env.trio->n_rows &&
		    trio_row(e->env.trio, t->source)->state == ROW_GIVING &&
		    atomic_load(&move_of(e, t->source)->given) ==
		        move_word(t->number, MOVE_MOVING) &&
		    peer_has_taken(&e->moving.peer, t->destination, t->source, t->number))
			commit(e, t->source, t->destination);
	}
	if (message.head.n < e->moving.n)
		e->env.trio->link_quota = 0;
	timer_clear(&e->loop, &e->moving.timer);
	settle_given(e);
	tell(e, HANDOVER_LOOK, 0, NULL, 0);
}

/* The taker does not answer, or there was nothing to do. */
static void tick(void *arg)
{
	struct engine *e = arg;

	settle_given(e);
	tell(e, HANDOVER_LOOK, 0, NULL, 0);
}

/* ---- the taker ---- */

static void look_up(struct engine *e, uint32_t i, const struct handover_entry *entry)
{
	struct row_cold *cold = trio_cold(e->env.trio, i);
	struct row *row = trio_row(e->env.trio, i);
	uint32_t service = services_find(&e->world->services, entry->service_port);

	cold->label = entry->rule[0] ? labels_find(&e->world->labels, entry->rule) : LABEL_NONE;
	cold->target =
	    entry->target[0] ? targets_find(&e->world->targets, entry->target) : TARGET_NONE;
	row->service = service < COUNTED_SERVICES ? (uint16_t)service : UINT16_MAX;
	row->server = cold->target < COUNTED_SERVERS ? (uint16_t)cold->target
	              : cold->target == TARGET_NONE  ? UINT16_MAX
	                                             : COUNTED_SERVERS - 1;
	if (entry->name[0]) {
		memcpy(trio_slots(e->env.trio)[i].name, entry->name, CLIENT_NAME_MAX);
		cold->question_count = 1; /* so that it is looked at */
	}
}

/* Kept untouched, until the giver's word is MOVED. false: no room. */
static bool keep(struct engine *e, struct handover_entry *entry, const int *fds)
{
	struct moving *m = &e->moving;
	uint32_t i;

	if (m->n == HANDOVER_BATCH || !engine_take_row(e, &i))
		return false;
	handover_unpack(entry, fds, trio_row(e->env.trio, i), trio_cold(e->env.trio, i));
	look_up(e, i, entry);
	move_of(e, i)->source = entry->source;
	barrier();
	FAULT_POINT();
	trio_row(e->env.trio, i)->state = ROW_TAKING;
	barrier();
	FAULT_POINT();
	atomic_store(&move_of(e, i)->taken, entry->number);
	FAULT_POINT();
	m->rows[m->n++] = i;
	entry->destination = i;
	return true;
}

static void take_rows(struct engine *e, int *fds, size_t n_fds)
{
	size_t used = 0;
	uint32_t kept = 0;

	for (uint32_t k = 0; k < message.head.n; k++) {
		struct handover_entry *entry = &message.entries[k];
		size_t need = handover_fds(entry);

		if (used + need > n_fds)
			break;
		if (peer_given(&e->moving.peer, entry->source) ==
		        move_word(entry->number, MOVE_MOVING) &&
		    keep(e, entry, fds + used))
			message.entries[kept++] = *entry;
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
	answer(e, HANDOVER_TAKEN, message.head.serial, kept);
}

/* It is ours. */
static void run_taken(struct engine *e, uint32_t i)
{
	struct row_cold *cold = trio_cold(e->env.trio, i);

	FAULT_POINT();
	trio_row(e->env.trio, i)->state = ROW_RELAY;
	barrier();
	FAULT_POINT();
	atomic_store(&move_of(e, i)->taken, 0);
	FAULT_POINT();
	for (int k = 0; k < LIMIT_KINDS; k++)
		if (cold->limit[k])
			limits_take(&e->limits, cold->limit[k], 0);
}

/* What has become of the rows that are kept? */
static void settle_taken(struct engine *e, bool lazily)
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
			close_copies(e, i);
			free_row(e, i);
		}
	}
	m->n = left;
}

/* ---- both ---- */

/* whole: nothing is left that could go. */
static void end_link(struct engine *e, bool whole)
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

/* The other side is through, or nobody is left there: what it has not made ours is not ours. */
static void link_is_over(struct engine *e)
{
	if (e->env.trio->link_role == LINK_GIVES) {
		peer_unmap(&e->moving.peer);
		settle_given(e);
	} else {
		settle_taken(e, false);
		for (uint32_t k = 0; k < e->moving.n; k++) {
			close_copies(e, e->moving.rows[k]);
			free_row(e, e->moving.rows[k]);
		}
		e->moving.n = 0;
	}
	end_link(e, false);
}

static void obey(struct engine *e, int *fds, size_t n_fds)
{
	bool gives = e->env.trio->link_role == LINK_GIVES;

	if (!gives && message.head.type == HANDOVER_ROWS) {
		take_rows(e, fds, n_fds);
		return;
	}
	while (n_fds > 0) /* nothing else brings any */
		close(fds[--n_fds]);
	if (gives && message.head.type == HANDOVER_OPEN) {
		taker_is_open(e);
	} else if (gives && message.head.type == HANDOVER_TAKEN) {
		taken(e);
	} else if (!gives &&
	           (message.head.type == HANDOVER_ASK || message.head.type == HANDOVER_LOOK)) {
		settle_taken(e, false);
		answer(e, HANDOVER_OPEN, message.head.serial, 0);
	} else if (!gives && message.head.type == HANDOVER_END) {
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
		rc = handover_recv(e->env.trio->link_fd, &message, fds, &n_fds);
		FAULT_POINT();
		if (rc != 1 || message.head.type != HANDOVER_ROWS)
			atomic_store(receiving, 0);
		if (rc == 1)
			obey(e, fds, n_fds);
		if (rc == 0 || rc == -ECONNRESET)
			link_is_over(e);
		if (rc <= 0)
			return;
	}
}

void moving_begin(struct engine *e, enum link_role role, enum link_which which, uint32_t quota,
                  int link, int peer_fd)
{
	struct trio *t = e->env.trio;

	if (t->link_fd >=
	    0) { /* said twice, because who was told first has died; or one too many */
		close(link);
		close(peer_fd);
		return;
	}
	t->link_role = (uint8_t)role;
	t->link_which = (uint8_t)which;
	t->link_quota = role == LINK_GIVES && which == LINK_BUSY ? half_of_busy(e) : quota;
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
		answer(e, HANDOVER_OPEN, 0, 0);
		return;
	}
	tell(e, HANDOVER_ASK, 0, NULL, 0);
}

bool moving_is_elsewhere(struct engine *e, uint32_t i)
{
	uint8_t state = trio_row(e->env.trio, i)->state;

	return state == ROW_TAKING || (state == ROW_GIVING && given_state(e, i) == MOVE_MOVED);
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
			close_copies(e, i);
		else if (state == ROW_GIVING)
			take_back(e, i);
		else if (state != ROW_TAKING)
			atomic_store(&move_of(e, i)->given, 0);
		state = trio_row(t, i)->state;
		if ((state == ROW_GIVING || state == ROW_TAKING) && m->n < HANDOVER_BATCH)
			m->rows[m->n++] = i;
	}
	if (t->link_role == LINK_TAKES || t->link_fd < 0)
		settle_taken(e, true);
}

void moving_stop(struct engine *e)
{
	if (e->env.trio->link_fd >= 0)
		link_is_over(e);
}
