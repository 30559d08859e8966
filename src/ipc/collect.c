#include "ipc/collect_parts.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "os/proc.h"
#include "ipc/accesslog.h"
#include "takeover/announced.h"
#include "takeover/handover.h"
#include "takeover/row_state.h"
#include "takeover/said.h"

#define SAME_RATE_US  (200 * 1000)         /* two looks so close to each other give no new rate */
#define OLD_LOOK_US   (60 * 1000 * 1000LL) /* one so long ago gives none either */
#define COLLECT_LOOKS 4                    /* at all rows, while connections move between workers */

/* What a row had moved when it was looked at last. */
struct last_look {
	uint32_t serial;
	uint64_t up, down, rate_up, rate_down;
	int64_t at_us;
};

struct collector {
	struct collect_source source;
	struct last_look **looks; /* of each trio, by row */
	uint32_t *n_rows; /* of each trio, for which there is room in looks[]; its worker may say anything later */
};

struct collector *collect_new(const struct collect_source *source)
{
	struct collector *v = mem_alloc(sizeof(*v));

	v->source = *source;
	v->looks = mem_alloc(source->n_trios * sizeof(*v->looks));
	v->n_rows = mem_alloc(source->n_trios * sizeof(*v->n_rows));
	for (uint32_t i = 0; i < source->n_trios; i++) {
		v->n_rows[i] = trio_n_rows(source->trios[i]);
		v->looks[i] = mem_alloc(v->n_rows[i] * sizeof(struct last_look));
	}
	return v;
}

/* The process that serves the page has it mapped for reading only. */
static const struct trio *trio_of(const struct collector *v, uint32_t i)
{
	return v->source.trios[i];
}

void collect_free(struct collector *v)
{
	if (!v)
		return;
	for (uint32_t i = 0; i < v->source.n_trios; i++)
		free(v->looks[i]);
	free(v->looks);
	free(v->n_rows);
	free(v);
}

/* ---- rows ---- */

/* Established, but one side has ended its direction. */
static const char *state_of(const struct row *row)
{
	uint8_t both = row->flow[CLIENT].flags | row->flow[SERVER].flags;

	if (row->state == ROW_RELAY && both & (FLOW_EOF | FLOW_RESET))
		return "half-closed";
	return row_state_name(row->state);
}

/* A copy that was one row's all the time. */
static bool copy_row(const struct trio *t, uint32_t i, struct row *row, struct row_cold *cold)
{
	const volatile struct row *now = trio_row(t, i);

	*row = *trio_row(t, i);
	barrier();
	*cold = *trio_cold(t, i);
	atomic_thread_fence(memory_order_acquire);
	return row->state != ROW_FREE && now->state != ROW_FREE && now->serial == row->serial;
}

static uint64_t rate(uint64_t bytes, int64_t us)
{
	double rate = us > 0 ? (double)bytes * 1e6 / (double)us : 0;

	return rate < 0x1p64 ? (uint64_t)rate : UINT64_MAX;
}

static void set_rates(struct last_look *look, const struct row *row, struct connection_view *c, int64_t now_us)
{
	bool same = look->serial == row->serial && now_us - look->at_us < OLD_LOOK_US;

	if (same && now_us - look->at_us < SAME_RATE_US) {
		c->rate_up = look->rate_up;
		c->rate_down = look->rate_down;
		return;
	}
	c->rate_up = same ? rate(c->up - look->up, now_us - look->at_us) : rate(c->up, c->age_us);
	c->rate_down = same ? rate(c->down - look->down, now_us - look->at_us) : rate(c->down, c->age_us);
	*look = (struct last_look){.serial = row->serial,
	                           .up = c->up,
	                           .down = c->down,
	                           .rate_up = c->rate_up,
	                           .rate_down = c->rate_down,
	                           .at_us = now_us};
}

static void set_tcp(const struct trio *t, uint32_t i, const struct row *row, struct connection_view *c)
{
	struct row_tcp_info info = *trio_tcp_info(t, i);

	for (enum side side = CLIENT; side <= SERVER; side++)
		if (info.serial == row->serial && info.known & 1u << side)
			c->tcp[side] = (struct tcp_view){
			        .known = true, .rtt_us = info.rtt_us[side], .retransmits = info.retransmits[side]};
}

/* The texts of others: of who announced it, and of the client itself. */
static void set_said(struct snapshot *s, const struct trio *t, uint32_t i, const struct row_cold *cold,
                     struct connection_view *c)
{
	char text[PROXY_VALUE_TEXT_MAX];
	size_t len;

	if ((len = announced_uid(t, i, cold, text)) > 0)
		c->uid = snapshot_keep(s, text, len);
	if ((len = announced_authority(t, i, cold, text)) > 0)
		c->authority = snapshot_keep(s, text, len);
	if ((len = said_sni(t, i, cold, text)) > 0)
		c->sni = snapshot_keep(s, text, len);
	if ((len = said_alpn(t, i, cold, text)) > 0)
		c->alpn = snapshot_keep(s, text, len);
	if ((len = said_protocol(cold, text)) > 0)
		c->protocol = snapshot_keep(s, text, len);
}

static void set_texts(struct collector *v, struct snapshot *s, const struct trio *t, uint32_t i, const struct row *row,
                      const struct row_cold *cold, struct connection_view *c)
{
	const struct world *w = v->source.world;
	char name[CLIENT_NAME_MAX];
	const char *text;
	size_t len;

	c->state = state_of(row);
	c->service = "";
	if (row->service < COUNTED_SERVICES) {
		const struct known_service *known = &w->services.list[row->service];

		c->service = service_label(known);
		c->ports = known->ports;
		if (known->within)
			c->within = service_label(&w->services.list[known->within - 1]);
	}
	c->rule = labels_text(&w->labels, cold->label);
	if (ask_name(t, i, cold, name) > 0)
		c->name = snapshot_keep(s, name, strlen(name));
	if (row->server != UINT16_MAX && cold->target < TARGETS_MAX) {
		c->server = target_label(&w->targets.list[cold->target]);
		c->spelt = w->targets.list[cold->target].key;
		c->server_of = target_line(&w->targets, &w->targets.list[cold->target]);
	}
	len = accesslog_server_text(cold, w, &text);
	if (len > 0)
		c->server_text = snapshot_keep(s, text, len);
}

static void view_row(struct collector *v, struct snapshot *s, uint32_t worker, uint32_t i, const struct row *row,
                     const struct row_cold *cold)
{
	const struct trio *t = trio_of(v, worker);
	struct connection_view *c = &s->connections[s->n_connections++];
	int64_t now_us = clock_mono_us();

	*c = (struct connection_view){
	        .id = cold->id,
	        .worker = worker,
	        .row = i,
	        .serial = row->serial,
	        .leaving = row->state == ROW_GIVING || row->state == ROW_TAKING,
	        .local = cold->local,
	        .client = cold->client,
	        .via = cold->via,
	        .up = row_up(row, cold),
	        .down = row_down(row, cold),
	        .age_us = clock_span(cold->accepted_us, now_us),
	        .idle_us = clock_span(clock_ms_as_us(row->active_ms), now_us),
	        .connect_us = cold->connected_us ? clock_span(cold->accepted_us, cold->connected_us) : -1,
	};
	if (c->idle_us < 0)
		c->idle_us = 0;
	if (cold->server.family == AF_INET || cold->server.family == AF_INET6)
		c->server_addr = cold->server;
	set_texts(v, s, t, i, row, cold, c);
	set_said(s, t, i, cold, c);
	set_rates(&v->looks[worker][i], row, c, now_us);
	set_tcp(t, i, row, c);
}

struct row_counts {
	uint32_t of_service[COUNTED_SERVICES], of_server[COUNTED_SERVERS];
	uint32_t waiting[COUNTED_SERVICES];
};

static void count_row(struct snapshot *s, uint32_t worker, const struct row *row, struct row_counts *counts)
{
	bool waits = row->state == ROW_QUEUED || row->state == ROW_HELD;

	if (row->service < COUNTED_SERVICES) {
		counts->of_service[row->service]++;
		counts->waiting[row->service] += waits;
	}
	if (row->server < COUNTED_SERVERS && !waits) /* then it has tried it, no more */
		counts->of_server[row->server]++;
	s->workers[worker].early += row->state == ROW_PREAMBLE || row->state == ROW_SNIFFING;
	for (int side = 0; side < 2; side++)
		s->workers[worker].parked_pipes += row->flow[side].pipe_read >= 0;
}

/* For services and servers, whose connections there are; and all of them, if they are wanted. */
static void look_at_rows(struct collector *v, struct snapshot *s, uint32_t worker, struct row_counts *counts,
                         bool connections)
{
	const struct trio *t = trio_of(v, worker);
	struct row_cold cold;
	struct row row;

	for (uint32_t i = 0; i < trio_rows_used(t) && i < v->n_rows[worker]; i++) {
		if (trio_row(t, i)->state == ROW_FREE || !copy_row(t, i, &row, &cold))
			continue;
		if (row.state != ROW_TAKING) /* then its giver has it, too */
			count_row(s, worker, &row, counts);
		if (!connections)
			continue;
		if (s->n_connections % 256 == 0)
			s->connections = mem_resize(s->connections, s->n_connections + 256, sizeof(*s->connections));
		view_row(v, s, worker, i, &row, &cold);
	}
}

static int by_id(const void *a, const void *b)
{
	const struct connection_view *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	if (x->leaving != y->leaving)
		return x->leaving - y->leaving;
	return x->age_us > y->age_us ? -1 : x->age_us < y->age_us; /* what was seen last */
}

/* One that has moved while we looked was seen twice: where it is now counts. */
static void drop_doubles(struct snapshot *s)
{
	size_t n = 0;

	if (s->n_connections > 1)
		qsort(s->connections, s->n_connections, sizeof(*s->connections), by_id);
	for (size_t i = 0; i < s->n_connections; i++)
		if (n == 0 || s->connections[n - 1].id != s->connections[i].id)
			s->connections[n++] = s->connections[i];
	s->n_connections = n;
}

/* Changes whenever a connection is offered to another worker, or given away. */
static uint64_t moves(const struct collector *v)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < v->source.n_trios; i++) {
		const volatile struct trio *t = trio_of(v, i);

		n += atomic_load(&trio_moves(trio_of(v, i))->last) + t->link_given;
	}
	atomic_thread_fence(memory_order_acquire);
	return n;
}

/* One that goes, while we look, from where we have not been to where we were is seen nowhere: then
 * once more, and what was seen ever counts. */
static void look_at_all_rows(struct collector *v, struct snapshot *s, struct row_counts *counts, bool connections)
{
	uint64_t before;
	int times = 0;

	do {
		before = moves(v);
		memset(counts, 0, sizeof(*counts));
		for (uint32_t i = 0; i < s->n_workers; i++) {
			s->workers[i].parked_pipes = s->workers[i].early = 0;
			look_at_rows(v, s, i, counts, connections);
		}
	} while (moves(v) != before && ++times < COLLECT_LOOKS);
	drop_doubles(s);
}

/* ---- workers ---- */

static bool alive(int pid)
{
	return pid > 0 && kill(pid, 0) == 0;
}

static void look_at_worker(struct collector *v, struct snapshot *s, uint32_t i)
{
	const struct trio *t = trio_of(v, i);
	struct worker_view *w = &s->workers[i];
	unsigned starts = atomic_load(&t->starts);
	int pid = t->pid[MEMBER_WORKER];

	*w = (struct worker_view){
	        .number = i,
	        .pid = alive(pid) ? pid : 0,
	        .serving = alive(pid) && atomic_load(&t->ready) == pid,
	        .accepting = !atomic_load(&v->source.world->disarmed[i]) && !atomic_load(&t->quitting),
	        .keepers = (uint32_t)alive(t->pid[MEMBER_KEEPER0]) + (uint32_t)alive(t->pid[MEMBER_KEEPER1]),
	        .active = atomic_load(&t->live),
	        .slots = v->n_rows[i],
	        .early_max = early_most(v->n_rows[i]),
	        .descriptors = t->table_size,
	        .takeovers = starts > 0 ? starts - 1 : 0,
	        .memory = pid > 0 ? proc_resident(pid) : 0,
	};
}

/* ---- services ---- */

static void look_at_services(struct collector *v, struct snapshot *s, const struct row_counts *counts)
{
	const struct services *list = &v->source.world->services;

	s->n_services = atomic_load(&list->n);
	s->services = mem_alloc((s->n_services + 1) * sizeof(*s->services));
	for (size_t i = 0; i < s->n_services; i++) {
		const struct known_service *known = &list->list[i];

		s->services[i] = (struct service_view){
		        .label = service_label(known),
		        .ports = known->ports,
		        .within = known->within ? service_label(&list->list[known->within - 1]) : NULL,
		        .admin_state = admin_state_text(atomic_load(&known->admin_state), false, counts->of_service[i]),
		        .refusing = atomic_load(&v->source.world->refusing[i]) != 0,
		        .active = counts->of_service[i],
		        .waiting = counts->waiting[i],
		        .counted = mem_alloc(sizeof(struct counted)),
		};
		for (uint32_t k = 0; k < v->source.n_trios; k++)
			counted_add(s->services[i].counted,
			            counters_service(trio_counters(trio_of(v, k)), (uint32_t)i));
	}
}

/* ---- the whole ---- */

struct snapshot *collect_take(struct collector *v, const struct config *config, uint64_t generation, bool connections)
{
	const struct totals *totals = &v->source.world->totals;
	struct row_counts *counts = mem_alloc(sizeof(*counts));
	struct snapshot *s = snapshot_new();

	s->version = TCPPROXY_VERSION;
	s->wall_us = clock_wall_us();
	s->started_wall_us = totals->started_wall_us;
	s->generation = generation;
	s->reloads = atomic_load(&totals->reloads);
	s->reloads_failed = atomic_load(&totals->reloads_failed);
	s->reload_wall_us = atomic_load(&totals->reload_wall_us);
	s->reload_failed = atomic_load(&totals->reload_failed);
	s->upgrades = atomic_load(&totals->upgrades);
	s->upgrades_failed = atomic_load(&totals->upgrades_failed);
	s->lines_lost = atomic_load(&totals->lines_lost);
	for (int i = 0; i < PROGRAM_KINDS; i++)
		s->programs_failed[i] = atomic_load(&v->source.world->programs.failed[i]);
	for (int i = 0; i < NAME_ANSWERS; i++)
		s->names[i] = atomic_load(&v->source.world->checker.names[i]);
	s->checks_late = atomic_load(&v->source.world->checker.late);
	s->n_workers = v->source.n_trios;
	s->workers = mem_alloc((s->n_workers + 1) * sizeof(*s->workers));
	for (uint32_t i = 0; i < s->n_workers; i++)
		look_at_worker(v, s, i);
	look_at_all_rows(v, s, counts, connections);
	look_at_services(v, s, counts);
	collect_servers(&v->source, s, counts->of_server);
	collect_config(v->source.world, s, config);
	snapshot_label_servers(s);
	collect_pools(v->source.world, s, config);
	snapshot_drop_lines(s);
	snapshot_merge(s);
	free(counts);
	return s;
}
