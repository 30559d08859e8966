#include "proxy/tapping.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/tap.h"
#include "os/pipe.h"
#include "os/shm.h"
#include "proxy/session.h"

/* ---- records ---- */

static void fill(struct engine *e, uint32_t row, enum tap_kind kind, struct tap_record *ret)
{
	const struct row_cold *cold = trio_cold(e->env.trio, row);

	*ret = (struct tap_record){.magic = TAP_MAGIC,
	                           .kind = (uint8_t)kind,
	                           .id = cold->id,
	                           .wall_us = clock_wall_us(),
	                           .client = cold->client,
	                           .local = cold->local,
	                           .server = cold->server};
}

/* The record, with its data after it in the buffer, to all that see the row. */
static void put(struct engine *e, uint32_t row, struct tap_record *r)
{
	struct tapping *t = &e->tapping;

	memcpy(t->buffer, r, sizeof(*r));
	for (int i = 0; i < TRIO_TAPS; i++) {
		if (!(t->masks[row] & 1u << i) || !t->taps[i].ring)
			continue;
		ring_put(t->taps[i].ring, TAP_RING, 0, t->buffer, sizeof(*r) + r->len);
		if (send(t->taps[i].watch.fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			errno = 0; /* it has not read the last one yet, or its end is about to be
			              noticed */
	}
}

static void put_data(struct tapping *t, uint32_t row, uint8_t side, size_t n)
{
	struct tap_record r;

	fill(t->engine, row, side == CLIENT ? TAP_DATA_UP : TAP_DATA_DOWN, &r);
	r.offset = t->offsets[row][side];
	r.len = (uint32_t)n;
	put(t->engine, row, &r);
	t->offsets[row][side] += n;
}

static void bytes(struct flow_tap *tap, uint32_t row, uint8_t side, const char *data, size_t n)
{
	struct tapping *t = (struct tapping *)tap;

	while (n > 0) {
		size_t piece = n < TAP_DATA ? n : TAP_DATA;

		memcpy(t->buffer + sizeof(struct tap_record), data, piece);
		put_data(t, row, side, piece);
		data += piece;
		n -= piece;
	}
}

/* What cannot be had this way is missing in the record, and its offset shows it. */
static void piped(struct flow_tap *tap, uint32_t row, uint8_t side, int pipe, size_t n)
{
	struct tapping *t = (struct tapping *)tap;
	uint64_t after = t->offsets[row][side] + n;

	if (t->pipe[0] >= 0 && TEMP_FAILURE_RETRY(tee(pipe, t->pipe[1], n, SPLICE_F_NONBLOCK)) > 0)
		for (;;) {
			ssize_t got = read(t->pipe[0], t->buffer + sizeof(struct tap_record), TAP_DATA);

			if (got <= 0)
				break;
			put_data(t, row, side, (size_t)got);
		}
	t->offsets[row][side] = after;
}

static bool wants(const struct flow_tap *tap, uint32_t row)
{
	return ((const struct tapping *)tap)->masks[row] != 0;
}

/* ---- which tap sees what ---- */

static bool is_of_service(struct engine *e, uint32_t service, uint32_t row)
{
	uint16_t number = trio_row(e->env.trio, row)->service;

	return number < COUNTED_SERVICES &&
	       (number + 1u == service || e->world->services.list[number].within == service);
}

static bool comes_from(const struct cidr *net, uint16_t port, const struct addr *a)
{
	return (net->net.family == AF_UNSPEC || cidr_contains(net, a)) && (!port || port == a->port);
}

static bool fits(struct engine *e, const struct tap_filter *f, uint32_t row)
{
	const struct row_cold *cold = trio_cold(e->env.trio, row);

	return (!f->service || is_of_service(e, f->service, row)) && (!f->id || f->id == cold->id) &&
	       (!f->port || f->port == cold->local.port) && comes_from(&f->client, f->client_port, &cold->client) &&
	       comes_from(&f->via, f->via_port, &cold->via) && (f->target == UINT32_MAX || f->target == cold->target) &&
	       (f->server.family == AF_UNSPEC ||
	        (addr_same_host(&f->server, &cold->server) && f->server.port == cold->server.port));
}

/* Tells the one tap of a connection that it sees from now on. */
static void announce(struct engine *e, uint32_t row, int tap, bool whole)
{
	struct tapping *t = &e->tapping;
	uint8_t others = t->masks[row];
	struct tap_record r;

	fill(e, row, TAP_OPEN, &r);
	r.whole = whole;
	r.offset = t->offsets[row][CLIENT];
	r.offset_down = t->offsets[row][SERVER];
	t->masks[row] = (uint8_t)(1u << tap);
	put(e, row, &r);
	t->masks[row] |= others;
}

static void set_offsets(struct engine *e, uint32_t row)
{
	e->tapping.offsets[row][CLIENT] = row_up(trio_row(e->env.trio, row), trio_cold(e->env.trio, row));
	e->tapping.offsets[row][SERVER] = trio_row(e->env.trio, row)->flow[SERVER].moved;
}

void tapping_match(struct session *s, bool begins)
{
	struct engine *e = s->engine;
	struct tapping *t = &e->tapping;

	if (!e->env.tap)
		return;
	t->masks[s->index] = 0;
	set_offsets(e, s->index);
	for (int i = 0; i < TRIO_TAPS; i++)
		if (t->taps[i].ring && fits(e, &e->env.trio->taps[i].filter, s->index))
			announce(e, s->index, i, begins);
}

void tapping_ended(struct session *s)
{
	struct engine *e = s->engine;
	struct tap_record r;

	if (!e->env.tap || e->tapping.masks[s->index] == 0)
		return;
	fill(e, s->index, TAP_END, &r);
	r.end = s->row->end;
	put(e, s->index, &r);
	e->tapping.masks[s->index] = 0;
}

/* Those that are there already. */
static void match_all(struct engine *e, int tap)
{
	struct trio *trio = e->env.trio;

	for (uint32_t i = 0; i < trio->rows_used; i++) {
		if (trio_row(trio, i)->state != ROW_RELAY || !e->sessions[i].row ||
		    !fits(e, &trio->taps[tap].filter, i))
			continue;
		if (e->tapping.masks[i] == 0)
			set_offsets(e, i);
		announce(e, i, tap, false);
	}
}

/* ---- taps come and go ---- */

static void end_tap(struct engine *e, int i)
{
	struct trio_tap *tap = &e->env.trio->taps[i];
	struct tapping *t = &e->tapping;
	bool any = false;

	watch_remove(&e->loop, &t->taps[i].watch);
	if (t->taps[i].ring)
		munmap(t->taps[i].ring, t->taps[i].ring_len);
	t->taps[i].ring = NULL;
	tap->number = 0; /* first: a successor sweeps what is recorded nowhere */
	barrier();
	FAULT_POINT();
	close(tap->wake_fd);
	close(tap->ring_fd);
	for (uint32_t row = 0; row < e->env.trio->rows_used; row++)
		t->masks[row] &= (uint8_t) ~(1u << i);
	for (int k = 0; k < TRIO_TAPS; k++)
		any |= t->taps[k].ring != NULL;
	if (!any)
		e->env.tap = NULL;
}

static void reader_event(void *arg, uint32_t events)
{
	struct engine *e = arg;
	char byte;

	for (int i = 0; i < TRIO_TAPS; i++)
		if (e->tapping.taps[i].ring && recv(e->tapping.taps[i].watch.fd, &byte, 1, MSG_DONTWAIT) == 0)
			end_tap(e, i);
}

/* Room for what is remembered of rows: of those that are used only. */
static bool prepare(struct engine *e)
{
	struct tapping *t = &e->tapping;
	uint32_t n = e->env.trio->n_rows;
	void *map;

	if (t->masks)
		return true;
	map = mmap(NULL, n * (sizeof(*t->offsets) + 1), PROT_READ | PROT_WRITE,
	           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return false;
	t->offsets = map;
	t->masks = (uint8_t *)(t->offsets + n);
	t->buffer = mem_alloc(sizeof(struct tap_record) + TAP_DATA);
	t->engine = e;
	t->hook = (struct flow_tap){.bytes = bytes, .piped = piped, .wants = wants};
	if (pipe_new(t->pipe, PIPEPOOL_SIZE) < 0)
		t->pipe[0] = t->pipe[1] = -1;
	return true;
}

static void begin_tap(struct engine *e, int i)
{
	struct trio_tap *tap = &e->env.trio->taps[i];
	struct tapping *t = &e->tapping;

	if (!prepare(e))
		return;
	t->taps[i].ring = shm_map(tap->ring_fd, ring_size(TAP_RING));
	t->taps[i].ring_len = ring_size(TAP_RING);
	if (!t->taps[i].ring ||
	    watch_add(&e->loop, &t->taps[i].watch, tap->wake_fd, EPOLLIN | EPOLLRDHUP, reader_event, e) < 0) {
		log_error("somebody cannot look at connections: no memory");
		end_tap(e, i);
		return;
	}
	e->env.tap = &t->hook;
	match_all(e, i);
}

void tapping_add(struct engine *e, uint64_t number, const struct tap_filter *filter, int wake_fd, int ring_fd)
{
	int room = -1;

	for (int i = 0; i < TRIO_TAPS; i++) {
		if (e->env.trio->taps[i].number == number)
			room = TRIO_TAPS;
		else if (e->env.trio->taps[i].number == 0 && room < 0)
			room = i;
	}
	if (room < 0 || room == TRIO_TAPS) {
		close(wake_fd);
		close(ring_fd);
		return;
	}
	e->env.trio->taps[room] = (struct trio_tap){.wake_fd = wake_fd, .ring_fd = ring_fd, .filter = *filter};
	barrier();
	FAULT_POINT();
	e->env.trio->taps[room].number = number;
	FAULT_POINT();
	begin_tap(e, room);
}

void tapping_recover(struct engine *e)
{
	for (int i = 0; i < TRIO_TAPS; i++)
		if (e->env.trio->taps[i].number != 0)
			begin_tap(e, i);
}
