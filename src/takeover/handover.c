#include "takeover/handover.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/record.h"
#include "os/shm.h"
#include "os/sock.h"

#define LONGEST_MS (INT64_MAX / 4) /* so that nothing overflows that is added to a time */

/* ---- the words ---- */

int peer_map(struct peer *p, int memfd)
{
	const struct trio *t;
	uint64_t offset, n_rows;
	size_t len;

	*p = (struct peer){0};
	t = shm_map_read(memfd, TRIO_HEAD_SIZE, &len);
	if (!t)
		return -EINVAL;
	p->map = (void *)t;
	p->len = len;
	/* of any version, so its places have to be read; once, because they may be changed meanwhile */
	offset = *(const volatile uint64_t *)&t->moves_offset;
	n_rows = *(const volatile uint32_t *)&t->n_rows;
	if (t->magic != TRIO_MAGIC || offset > len || offset % sizeof(uint64_t) != 0 ||
	    sizeof(struct moves) + n_rows * sizeof(struct move) > len - offset) {
		peer_unmap(p);
		return -EPROTO;
	}
	p->n_rows = (uint32_t)n_rows;
	p->moves = (const struct moves *)((const char *)t + offset);
	return 0;
}

void peer_unmap(struct peer *p)
{
	if (p->map)
		munmap(p->map, p->len);
	*p = (struct peer){0};
}

uint64_t peer_given(const struct peer *p, uint32_t row)
{
	return row < p->n_rows ? atomic_load(&p->moves->rows[row].given) : 0;
}

bool peer_has_taken(const struct peer *p, uint32_t row, uint32_t source, uint64_t number)
{
	const struct move *m;

	if (row >= p->n_rows)
		return false;
	m = &p->moves->rows[row];
	return atomic_load(&m->taken) == number && m->source == source;
}

/* ---- rows as messages ---- */

static size_t pack_flow(const struct row *row, enum side s, uint64_t base, struct handover_flow *ret, int *fds)
{
	const struct flow_row *flow = &row->flow[s];
	bool parked = flow->pipe_read >= 0 && flow->pipe_write >= 0;

	*ret = (struct handover_flow){.moved = flow->moved,
	                              .counted = row->counted[s],
	                              .base = base,
	                              .flags = flow->flags,
	                              .foreign = flow->pipe_foreign,
	                              .parked = parked};
	if (!parked)
		return 0;
	fds[0] = flow->pipe_read;
	fds[1] = flow->pipe_write;
	return 2;
}

size_t handover_pack(const struct trio *t, uint32_t i, struct handover_entry *ret, int *fds)
{
	const struct row *row = trio_row(t, i);
	const struct row_cold *cold = trio_cold(t, i);
	size_t n = 2;

	*ret = (struct handover_entry){
	        .source = i,
	        .end = row->end,
	        .flags = row->flags,
	        .cookie = {row->cookie[CLIENT], row->cookie[SERVER]},
	        .active_ms = row->active_ms,
	        .deadline_ms = row->deadline_ms,
	        .id = cold->id,
	        .accepted_wall_us = cold->accepted_wall_us,
	        .accepted_us = cold->accepted_us,
	        .connected_us = cold->connected_us,
	        .client = cold->client,
	        .local = cold->local,
	        .server = cold->server,
	        .timeout_ms = cold->timeout_ms,
	        .half_close_timeout_ms = cold->half_close_timeout_ms,
	        .keepalive_ms = cold->keepalive_ms,
	        .access_log = cold->access_log,
	        .access_interval_ms = cold->access_interval_ms,
	        .waited_us = cold->wait.waited_us,
	        .via = cold->via,
	        .announced = cold->announced,
	        .uid_start = cold->uid_start,
	        .preamble = cold->preamble,
	        .answered = cold->answered,
	        .stick = cold->stick,
	};
	memcpy(ret->limit, cold->limit, sizeof(ret->limit));
	fds[0] = row->fd[CLIENT];
	fds[1] = row->fd[SERVER];
	for (enum side s = CLIENT; s <= SERVER; s++)
		n += pack_flow(row, s, cold->base[s], &ret->flow[s], fds + n);
	return n;
}

size_t handover_fds(const struct handover_entry *e)
{
	return 2 + (e->flow[CLIENT].parked ? 2 : 0) + (e->flow[SERVER].parked ? 2 : 0);
}

static const int *unpack_flow(const struct handover_flow *from, struct flow_row *flow, uint64_t *base, const int *fds)
{
	*flow = (struct flow_row){.moved = from->moved,
	                          .flags = from->flags,
	                          .pipe_foreign = from->foreign,
	                          .pipe_read = -1,
	                          .pipe_write = -1};
	*base = from->base;
	if (!from->parked)
		return fds;
	flow->pipe_read = fds[0];
	flow->pipe_write = fds[1];
	return fds + 2;
}

void handover_unpack(const struct handover_entry *e, const int *fds, struct row *row, struct row_cold *cold)
{
	row->end = e->end;
	row->flags = e->flags;
	row->active_ms = e->active_ms;
	row->deadline_ms = e->deadline_ms;
	cold->id = e->id;
	cold->accepted_wall_us = e->accepted_wall_us;
	cold->accepted_us = e->accepted_us;
	cold->connected_us = e->connected_us;
	cold->client = e->client;
	cold->local = e->local;
	cold->server = e->server;
	cold->timeout_ms = e->timeout_ms;
	cold->half_close_timeout_ms = e->half_close_timeout_ms;
	cold->keepalive_ms = (uint32_t)e->keepalive_ms;
	cold->access_log = e->access_log;
	cold->access_interval_ms = e->access_interval_ms;
	cold->wait.waited_us = e->waited_us > 0 ? e->waited_us : 0;
	cold->via = e->via;
	cold->announced = e->announced;
	cold->uid_start = e->uid_start;
	cold->preamble = e->preamble;
	cold->answered = e->answered;
	cold->met = 1;
	cold->stick = e->stick;
	memcpy(cold->limit, e->limit, sizeof(cold->limit));
	for (enum side s = CLIENT; s <= SERVER; s++) {
		row->fd[s] = fds[s];
		row->cookie[s] = e->cookie[s];
		row->counted[s] = e->flow[s].counted;
	}
	fds += 2;
	for (enum side s = CLIENT; s <= SERVER; s++)
		fds = unpack_flow(&e->flow[s], &row->flow[s], &cold->base[s], fds);
}

/* ---- messages ---- */

int handover_send(int link, enum handover_type type, uint32_t serial, struct handover_message *m, uint32_t n,
                  const int *fds, size_t n_fds)
{
	m->head = (struct handover_head){
	        .type = type, .n = n, .entry_size = sizeof(struct handover_entry), .serial = serial};
	return sock_send_message(link, m, sizeof(m->head) + n * sizeof(m->entries[0]), fds, n_fds);
}

static void close_all(const int *fds, size_t *n)
{
	while (*n > 0)
		close(fds[--*n]);
}

static int64_t between(int64_t least, int64_t n, int64_t most)
{
	return n < least ? least : n > most ? most : n;
}

/* Another trio may say anything: texts end, and numbers are such as can be counted with. */
static void check_entry(struct handover_entry *e)
{
	int64_t now_us = clock_mono_us();

	if (e->end >= END_COUNT)
		e->end = END_NONE;
	for (enum side s = CLIENT; s <= SERVER; s++)
		e->flow[s].flags &= FLOW_EOF | FLOW_SHUT | FLOW_RESET | FLOW_DISCARD;
	e->active_ms = between(0, e->active_ms, now_us / 1000);
	e->accepted_us = between(0, e->accepted_us, now_us);
	e->connected_us = between(0, e->connected_us, now_us);
	e->deadline_ms = between(0, e->deadline_ms, LONGEST_MS);
	e->timeout_ms = between(0, e->timeout_ms, LONGEST_MS);
	e->half_close_timeout_ms = between(0, e->half_close_timeout_ms, LONGEST_MS);
	e->access_interval_ms = between(0, e->access_interval_ms, LONGEST_MS);
	e->keepalive_ms = between(0, e->keepalive_ms, UINT32_MAX);
	if (e->n_tlvs > sizeof(e->tlvs))
		e->n_tlvs = 0;
	e->rule[sizeof(e->rule) - 1] = '\0';
	e->target[sizeof(e->target) - 1] = '\0';
	e->name[sizeof(e->name) - 1] = '\0';
	e->service_called[sizeof(e->service_called) - 1] = '\0';
	e->target_called[sizeof(e->target_called) - 1] = '\0';
}

/* The sender's entries may have more fields than ours, or fewer: those are zero. */
static bool fit(const char *raw, size_t len, struct handover_message *m)
{
	size_t size = m->head.entry_size, known = size < sizeof(m->entries[0]) ? size : sizeof(m->entries[0]);

	if (m->head.n > HANDOVER_BATCH || len != m->head.n * size)
		return false;
	memset(m->entries, 0, m->head.n * sizeof(m->entries[0]));
	for (uint32_t i = 0; i < m->head.n; i++) {
		struct handover_entry *e = &m->entries[i];

		memcpy(e, raw + i * size, known);
		check_entry(e);
	}
	return true;
}

int handover_recv(int link, struct handover_message *m, int *fds, size_t *n_fds)
{
	static char raw[sizeof(struct handover_head) + HANDOVER_BATCH * 4096]; /* room for a later version's */
	int len;

	*n_fds = HANDOVER_BATCH * HANDOVER_FDS;
	len = sock_recv_message(link, raw, sizeof(raw), fds, n_fds);
	if (len <= 0)
		return len;
	if ((size_t)len >= sizeof(m->head)) {
		memcpy(&m->head, raw, sizeof(m->head));
		if (fit(raw + sizeof(m->head), (size_t)len - sizeof(m->head), m))
			return 1;
	}
	close_all(fds, n_fds);
	return -EPROTO;
}
