#include "ipc/collect.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "os/proc.h"
#include "ipc/accesslog.h"
#include "ipc/changes.h"
#include "ipc/eject_view.h"
#include "takeover/handover.h"

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

static const char *state_text(uint8_t state)
{
	static const char
	        *const names[] =
	                {
	                        [ROW_FREE] = "free",
	                        [ROW_ACCEPTED] = "accepted",
	                        [ROW_VERDICT] = "verdict",
	                        [ROW_RESOLVE] = "resolve",
	                        [ROW_CONNECTING] = "connecting",
	                        [ROW_RELAY] = "relay",
	                        [ROW_STARTING] = "starting",
	                        [ROW_HANDLER] = "handler",
	                        [ROW_RESETTING] = "resetting",
	                        [ROW_LINGER] = "linger",
	                        [ROW_CLOSING] = "closing",
	                        [ROW_ENDING] = "ending",
	                        [ROW_ABORTING] = "aborting",
	                        [ROW_GIVING] = "relay", /* to another worker, which changes nothing outside */
	                        [ROW_TAKING] = "relay",
	                        [ROW_PREAMBLE] = "preamble",
	                        [ROW_QUEUED] = "queued",
	                        [ROW_HELD] = "held",
	                };

	return state < ARRAY_LEN(names) && names[state] ? names[state] : "?";
}

/* Established, but one side has ended its direction. */
static const char *state_of(const struct row *row)
{
	uint8_t both = row->flow[CLIENT].flags | row->flow[SERVER].flags;

	if (row->state == ROW_RELAY && both & (FLOW_EOF | FLOW_RESET))
		return "half-closed";
	return state_text(row->state);
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
	        .down = row->flow[SERVER].moved,
	        .age_us = clock_span(cold->accepted_us, now_us),
	        .idle_us = clock_span(clock_ms_as_us(row->active_ms), now_us),
	        .connect_us = cold->connected_us ? clock_span(cold->accepted_us, cold->connected_us) : -1,
	};
	if (c->idle_us < 0)
		c->idle_us = 0;
	if (cold->server.family == AF_INET || cold->server.family == AF_INET6)
		c->server_addr = cold->server;
	set_texts(v, s, t, i, row, cold, c);
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
			s->workers[i].parked_pipes = 0;
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
	        .descriptors = t->table_size,
	        .takeovers = starts > 0 ? starts - 1 : 0,
	        .memory = pid > 0 ? proc_resident(pid) : 0,
	};
}

/* ---- services and servers ---- */

const char *admin_state_text(unsigned state, bool disabled_by_file, uint32_t active)
{
	switch (state) {
	case ADMIN_STATE_DRAINING:
		return active ? "draining" : "drained";
	case ADMIN_STATE_DISABLED:
		return "disabled";
	case ADMIN_STATE_ENABLED:
		return "enabled";
	default:
		return disabled_by_file ? "disabled" : "enabled";
	}
}

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

/* What is known of the seats that a configuration has, of each server: the worst of them. */
struct checked {
	uint32_t seat; /* SEAT_NONE: it is not checked */
	struct health_view worst;
	struct checks_view sum;
};

static int badness(enum health_state state)
{
	return state == HEALTH_DOWN ? 2 : state == HEALTH_UNKNOWN;
}

static void add_seat(const struct world *w, uint32_t seat, struct checked *c)
{
	const struct health *h = &w->health[seat];
	struct health_view now = health_read(h, atomic_load(&w->seats.list[seat].asks));

	if (c->seat == SEAT_NONE || badness(now.state) > badness(c->worst.state)) {
		c->seat = seat;
		c->worst = now;
	}
	c->sum.any = true;
	for (int i = 0; i < 3; i++) {
		c->sum.answers[i] += atomic_load(&h->answers[i]);
		c->sum.changes[i] += atomic_load(&h->changes[i]);
	}
	c->sum.took_us = atomic_load(&h->answered_ms) ? atomic_load(&h->took_us) : -1;
}

static void look_at_seats(const struct world *w, struct checked *ret, size_t n_servers)
{
	unsigned n = atomic_load(&w->seats.n);

	for (size_t i = 0; i < n_servers; i++)
		ret[i] = (struct checked){.seat = SEAT_NONE, .sum.took_us = -1};
	for (uint32_t i = 0; i < n && i < SEATS_MAX; i++) {
		uint32_t target = atomic_load(&w->seats.list[i].target);

		if (atomic_load(&w->seats.list[i].left_ms) == 0 && target < n_servers)
			add_seat(w, i, &ret[target]);
	}
}

/* What a check says stands above what clients have found, but for a failure that came since. */
static void set_checked(struct snapshot *s, const struct world *w, struct server_view *v, const struct checked *c)
{
	int64_t ms = clock_mono_ms() - c->worst.since_ms;
	char words[HEALTH_WORDS];

	v->checks = c->sum;
	if (c->seat == SEAT_NONE || strcmp(v->health, "unresolved") == 0 ||
	    (c->worst.state != HEALTH_DOWN && strcmp(v->health, "failed") == 0))
		return;
	health_words(&w->health[c->seat], words);
	v->health = health_name(c->worst.state);
	v->health_us = c->worst.since_ms == 0 ? -1 : ms > 0 ? ms * 1000 : 0;
	v->why = c->worst.state == HEALTH_DOWN && words[0] ? snapshot_keep(s, words, strlen(words)) : NULL;
}

static void set_health(struct server_view *v, const struct target *t, const struct experience *e)
{
	static const char *const words[] = {[UNTRIED] = "untried", [WORKS] = "up", [FAILS] = "failed"};
	struct target_health h = target_health(e);
	bool unresolved = atomic_load(&t->state) == TARGET_UNRESOLVED;
	int64_t ms = clock_mono_ms() - h.since_ms;

	v->health = unresolved ? "unresolved" : h.finding <= FAILS ? words[h.finding] : words[UNTRIED];
	v->health_us = h.finding == UNTRIED ? -1 : ms > 0 ? ms * 1000 : 0;
	if (unresolved)
		v->why = target_error_text(TARGET_NO_ADDRESS);
	else if (h.finding == FAILS)
		v->why = target_error_text(h.error);
}

/* What clients have found, what a check says, what tcpproxyctl says: the latter stands above the former. */
static void set_known(struct snapshot *s, const struct world *w, struct server_view *v, uint32_t target,
                      const struct checked *c)
{
	const struct target *t = &w->targets.list[target];
	enum force force = changed_force(&t->changed);

	set_health(v, t, &w->experience[target]);
	set_checked(s, w, v, c);
	if (force != FORCE_UP && force != FORCE_DOWN)
		return;
	v->health = force == FORCE_UP ? "up" : "down";
	v->why = "forced (tcpproxyctl)";
	v->health_us = -1;
}

/* In which it has its name. */
static const char *service_of(const struct collector *v, const struct target *t)
{
	if (t->of_service == 0 || t->of_service > COUNTED_SERVICES)
		return NULL;
	return service_label(&v->source.world->services.list[t->of_service - 1]);
}

static void look_at_servers(struct collector *v, struct snapshot *s, const uint32_t *active)
{
	const struct targets *list = &v->source.world->targets;
	uint32_t n = atomic_load(&list->n);
	struct checked *checked = mem_alloc(COUNTED_SERVERS * sizeof(*checked));

	s->n_servers = n < COUNTED_SERVERS ? n : COUNTED_SERVERS;
	look_at_seats(v->source.world, checked, s->n_servers);
	s->servers = mem_alloc((s->n_servers + 1) * sizeof(*s->servers));
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct target *t = &list->list[i];

		s->servers[i] = (struct server_view){
		        .label = target_label(t),
		        .spelt = t->key,
		        .name = t->called[0] ? t->called : NULL,
		        .service = service_of(v, t),
		        .of = target_line(list, t),
		        .stands = atomic_load(&t->stands),
		        .admin_state = admin_state_text(atomic_load(&t->admin_state), false, active[i]),
		        .active = active[i],
		        .addresses = atomic_load(&t->n),
		        .counted = mem_alloc(sizeof(struct counted)),
		};
		set_known(s, v->source.world, &s->servers[i], (uint32_t)i, &checked[i]);
		for (uint32_t k = 0; k < v->source.n_trios; k++)
			counted_add(s->servers[i].counted, counters_server(trio_counters(trio_of(v, k)), (uint32_t)i));
		if (atomic_load(&t->uses) > 0)
			counted_take_off(s->servers[i].counted, &v->source.world->counted_before[i]);
	}
	free(checked);
}

/* What the file says of them. A server that it disables wherever it names it is out, unless tcpproxyctl says otherwise. */
static void look_at_config(struct collector *v, struct snapshot *s, const struct config *config)
{
	const struct world *w = v->source.world;
	bool *in_use = mem_alloc((s->n_servers + 1) * sizeof(*in_use));

	for (size_t i = 0; i < config->n_sections; i++) {
		const struct section *section = &config->sections[i];
		uint32_t service = world_service(w, config, section);

		if (service < s->n_services)
			s->services[service].configured = true;
		for (size_t k = 0; k < section->n_servers; k++) {
			uint32_t target = world_target(w, config, section, &section->servers[k]);

			if (target >= s->n_servers)
				continue;
			s->servers[target].configured = true;
			in_use[target] |= !section->servers[k].disabled;
			eject_view(s, w, section, target, false, &s->servers[target]);
		}
	}
	for (size_t i = 0; i < s->n_servers; i++)
		if (s->servers[i].configured && !in_use[i])
			s->servers[i].admin_state = admin_state_text(atomic_load(&w->targets.list[i].admin_state), true,
			                                             s->servers[i].active);
	free(in_use);
}

/* ---- pools ---- */

static const char *keep_buf(struct snapshot *s, struct buf *b)
{
	const char *kept = b->len > 0 ? snapshot_keep(s, b->s, b->len) : NULL;

	buf_release(b);
	return kept;
}

static const char *check_text(struct snapshot *s, const struct config *c, const struct section *section,
                              const struct server *server)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < section->n_checks && server->kind != SERVER_PROGRAM; i++) {
		buf_adds(&text, i ? "; " : "");
		check_describe(c, &section->checks[i], &text);
	}
	return keep_buf(s, &text);
}

static const char *address_text(struct snapshot *s, const struct target *t, uint16_t port)
{
	struct addr addrs[TARGET_ADDRS];
	size_t n = target_addrs(t, addrs);
	char one[ADDR_TEXT_MAX];
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < n; i++) {
		addrs[i].port = port;
		buf_addf(&text, "%s%s", i ? "," : "",
		         port ? addr_format_port(&addrs[i], one) : addr_format_bracket(&addrs[i], one));
	}
	return keep_buf(s, &text);
}

/* By the checks of its section alone. */
static void set_state(struct snapshot *s, const struct world *w, const struct config *c, const struct section *section,
                      const struct server *server, struct member_view *m)
{
	uint32_t seat = world_seat(w, c, section, server);
	struct checked checked = {.seat = SEAT_NONE};
	struct server_view v = {0};
	uint64_t asks = seat < SEATS_MAX ? atomic_load(&w->seats.list[seat].asks) : 0;

	if (seat < SEATS_MAX)
		add_seat(w, seat, &checked);
	member_view_now(w, section, seat, asks, m);
	set_known(s, w, &v, m->target, &checked);
	eject_view(s, w, section, m->target, true, &v);
	m->state = v.health;
	m->why = v.why;
	m->since_wall_us = v.health_us < 0 ? 0 : s->wall_us - v.health_us;
}

static void set_changed(struct snapshot *s, const struct world *w, const struct server *server, struct member_view *m)
{
	struct buf text = BUF_INIT;

	if (server->from == FROM_ADDED)
		changes_of_added(m->service, server, &text);
	changes_of_server(w, m->target, clock_mono_ms(), &text);
	m->changed = keep_buf(s, &text);
}

static uint64_t failures_of(const struct server_view *v)
{
	return v->counted->values[COUNT_connect_failures] + v->counted->values[COUNT_connect_timeouts] +
	       v->counted->values[COUNT_unresolved];
}

static void set_server(struct snapshot *s, const struct world *w, const struct config *c, const struct section *section,
                       const struct server *server, struct member_view *m)
{
	if (m->target < s->n_servers) {
		m->server = s->servers[m->target].label;
		m->connections = s->servers[m->target].active;
		m->failures = failures_of(&s->servers[m->target]);
	} else {
		m->server = snapshot_keep(s, server_label(server), strlen(server_label(server)));
	}
	if (m->target < TARGETS_MAX) {
		set_state(s, w, c, section, server, m);
		set_changed(s, w, server, m);
		m->address = address_text(s, &w->targets.list[m->target], world_check_port(c, section, server));
	}
}

static void look_at_pools(struct collector *v, struct snapshot *s, const struct config *config)
{
	const struct world *w = v->source.world;
	int64_t now_ms = clock_mono_ms();

	for (size_t i = 0; i < config->n_sections; i++) {
		const struct section *section = &config->sections[i];
		uint32_t service = world_service(w, config, section);
		const struct service_view *of = service < s->n_services ? &s->services[service] : NULL;
		const char *rule = snapshot_keep(s, section->origin, strlen(section->origin));

		s->members = mem_resize(s->members, s->n_members + section->n_servers + 1, sizeof(*s->members));
		for (size_t k = 0; k < section->n_servers; k++) {
			const struct server *server = &section->servers[k];
			struct member_view *m = &s->members[s->n_members++];

			*m = (struct member_view){
			        .service = of ? of->label : "",
			        .rule = rule,
			        .ports = of ? of->ports : "",
			        .within = of ? of->within : NULL,
			        .waiting = of ? of->waiting : 0,
			        .target = world_target(w, config, section, server),
			        .weight_milli = server->weight * 1000,
			        .weight_file = server->weight,
			        .max = server->max,
			        .max_file = server->max,
			        .backup = server->backup,
			        .disabled = server->disabled,
			        .usable = world_usable(w, config, section, server, now_ms),
			        .state = "untried",
			        .check = check_text(s, config, section, server),
			};
			set_server(s, w, config, section, server, m);
		}
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
	s->checks_late = atomic_load(&v->source.world->checker.late);
	s->n_workers = v->source.n_trios;
	s->workers = mem_alloc((s->n_workers + 1) * sizeof(*s->workers));
	for (uint32_t i = 0; i < s->n_workers; i++)
		look_at_worker(v, s, i);
	look_at_all_rows(v, s, counts, connections);
	look_at_services(v, s, counts);
	look_at_servers(v, s, counts->of_server);
	look_at_config(v, s, config);
	snapshot_label_servers(s);
	look_at_pools(v, s, config);
	snapshot_drop_lines(s);
	snapshot_merge(s);
	free(counts);
	return s;
}
