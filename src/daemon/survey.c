#include "daemon/survey.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "os/proc.h"
#include "proxy/ask.h"
#include "takeover/handover.h"

#define SAME_RATE_US (200 * 1000)         /* two looks so close to each other give no new rate */
#define OLD_LOOK_US  (60 * 1000 * 1000LL) /* one so long ago gives none either */
#define LOOKS        4                    /* at all rows, while connections move between workers */

/* What a row had moved when it was looked at last. */
struct last_look {
	uint32_t serial;
	uint64_t up, down, rate_up, rate_down;
	int64_t at_us;
};

struct survey {
	struct survey_source source;
	struct last_look **looks; /* of each trio, by row */
};

struct survey *survey_new(const struct survey_source *source)
{
	struct survey *v = mem_alloc(sizeof(*v));

	v->source = *source;
	v->looks = mem_alloc(source->n_trios * sizeof(*v->looks));
	for (uint32_t i = 0; i < source->n_trios; i++)
		v->looks[i] = mem_alloc(source->trios[i]->n_rows * sizeof(struct last_look));
	return v;
}

void survey_free(struct survey *v)
{
	if (!v)
		return;
	for (uint32_t i = 0; i < v->source.n_trios; i++)
		free(v->looks[i]);
	free(v->looks);
	free(v);
}

/* ---- rows ---- */

static const char *state_text(uint8_t state)
{
	static const char *const names[] = {
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
	    [ROW_GIVING] = "relay", /* to another worker, which changes nothing for anybody */
	    [ROW_TAKING] = "relay",
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
static bool copy_row(struct trio *t, uint32_t i, struct row *row, struct row_cold *cold)
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
	return us > 0 ? (uint64_t)((double)bytes * 1e6 / (double)us) : 0;
}

static void set_rates(struct last_look *look, const struct row *row, struct connection_view *c,
                      int64_t now_us)
{
	bool same = look->serial == row->serial && now_us - look->at_us < OLD_LOOK_US;

	if (same && now_us - look->at_us < SAME_RATE_US) {
		c->rate_up = look->rate_up;
		c->rate_down = look->rate_down;
		return;
	}
	c->rate_up = same ? rate(c->up - look->up, now_us - look->at_us) : rate(c->up, c->age_us);
	c->rate_down =
	    same ? rate(c->down - look->down, now_us - look->at_us) : rate(c->down, c->age_us);
	*look = (struct last_look){.serial = row->serial,
	                           .up = c->up,
	                           .down = c->down,
	                           .rate_up = c->rate_up,
	                           .rate_down = c->rate_down,
	                           .at_us = now_us};
}

static void set_tcp(struct trio *t, uint32_t i, const struct row *row, struct connection_view *c)
{
	struct row_facts facts = *trio_facts(t, i);

	for (enum side side = CLIENT; side <= SERVER; side++)
		if (facts.serial == row->serial && facts.known & 1u << side)
			c->tcp[side] = (struct tcp_view){.known = true,
			                                 .rtt_us = facts.rtt_us[side],
			                                 .retransmits = facts.retransmits[side]};
}

static void set_texts(struct survey *v, struct snapshot *s, struct trio *t, uint32_t i,
                      const struct row *row, const struct row_cold *cold, struct connection_view *c)
{
	const struct world *w = v->source.world;
	const char *name = ask_name(t, i, cold);

	c->state = state_of(row);
	c->service = row->service < COUNTED_SERVICES ? w->services.list[row->service].ports : "";
	c->rule = labels_text(&w->labels, cold->label);
	if (name && *name)
		c->name = snapshot_keep(s, name);
	if (row->server != UINT16_MAX && cold->target < TARGETS_MAX)
		c->server = w->targets.list[cold->target].key;
}

static void view_row(struct survey *v, struct snapshot *s, uint32_t worker, uint32_t i,
                     const struct row *row, const struct row_cold *cold)
{
	struct trio *t = v->source.trios[worker];
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
	    .up = row->flow[CLIENT].moved,
	    .down = row->flow[SERVER].moved,
	    .age_us = now_us - cold->accepted_us,
	    .idle_us = now_us - row->active_ms * 1000,
	    .connect_us = cold->connected_us ? cold->connected_us - cold->accepted_us : -1,
	};
	if (c->idle_us < 0)
		c->idle_us = 0;
	if (cold->connected_us)
		c->server_addr = cold->server;
	set_texts(v, s, t, i, row, cold, c);
	set_rates(&v->looks[worker][i], row, c, now_us);
	set_tcp(t, i, row, c);
}

static void count_row(struct snapshot *s, uint32_t worker, const struct row *row,
                      uint32_t *of_service, uint32_t *of_server)
{
	if (row->service < COUNTED_SERVICES)
		of_service[row->service]++;
	if (row->server < COUNTED_SERVERS)
		of_server[row->server]++;
	for (int side = 0; side < 2; side++)
		s->workers[worker].parked_pipes += row->flow[side].pipe_read >= 0;
}

/* For services and servers, whose connections there are; and all of them, if they are wanted. */
static void look_at_rows(struct survey *v, struct snapshot *s, uint32_t worker,
                         uint32_t *of_service, uint32_t *of_server, bool connections)
{
	struct trio *t = v->source.trios[worker];
	struct row_cold cold;
	struct row row;

	for (uint32_t i = 0; i < t->rows_used; i++) {
		if (trio_row(t, i)->state == ROW_FREE || !copy_row(t, i, &row, &cold))
			continue;
		if (row.state != ROW_TAKING) /* then its giver has it, too */
			count_row(s, worker, &row, of_service, of_server);
		if (!connections)
			continue;
		if (s->n_connections % 256 == 0)
			s->connections = mem_resize(s->connections, s->n_connections + 256,
			                            sizeof(*s->connections));
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
static uint64_t moves(const struct survey *v)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < v->source.n_trios; i++) {
		const volatile struct trio *t = v->source.trios[i];

		n += atomic_load(&trio_moves(v->source.trios[i])->last) + t->link_given;
	}
	atomic_thread_fence(memory_order_acquire);
	return n;
}

/* One that goes, while we look, from where we have not been to where we were is seen nowhere: then
 * once more, and what was seen ever counts. */
static void look_at_all_rows(struct survey *v, struct snapshot *s, uint32_t *of_service,
                             uint32_t *of_server, bool connections)
{
	uint64_t before;
	int times = 0;

	do {
		before = moves(v);
		memset(of_service, 0, COUNTED_SERVICES * sizeof(*of_service));
		memset(of_server, 0, COUNTED_SERVERS * sizeof(*of_server));
		for (uint32_t i = 0; i < s->n_workers; i++) {
			s->workers[i].parked_pipes = 0;
			look_at_rows(v, s, i, of_service, of_server, connections);
		}
	} while (moves(v) != before && ++times < LOOKS);
	drop_doubles(s);
}

/* ---- workers ---- */

static bool alive(int pid)
{
	return pid > 0 && kill(pid, 0) == 0;
}

static void look_at_worker(struct survey *v, struct snapshot *s, uint32_t i)
{
	struct trio *t = v->source.trios[i];
	struct worker_view *w = &s->workers[i];
	unsigned starts = atomic_load(&t->starts);
	int pid = t->pid[MEMBER_WORKER];

	*w = (struct worker_view){
	    .number = i,
	    .pid = alive(pid) ? pid : 0,
	    .serving = alive(pid) && atomic_load(&t->ready) == pid,
	    .accepting = !atomic_load(&v->source.world->disarmed[i]) && !atomic_load(&t->quitting),
	    .keepers =
	        (uint32_t)alive(t->pid[MEMBER_KEEPER0]) + (uint32_t)alive(t->pid[MEMBER_KEEPER1]),
	    .active = atomic_load(&t->live),
	    .slots = t->n_rows,
	    .descriptors = t->table_size,
	    .takeovers = starts > 0 ? starts - 1 : 0,
	    .memory = pid > 0 ? proc_resident(pid) : 0,
	};
}

/* ---- services and servers ---- */

const char *standing_text(unsigned standing, bool disabled_by_file, uint32_t active)
{
	switch (standing) {
	case STANDING_DRAINING:
		return active ? "draining" : "drained";
	case STANDING_DISABLED:
		return "disabled";
	case STANDING_ENABLED:
		return "enabled";
	default:
		return disabled_by_file ? "disabled" : "enabled";
	}
}

static void look_at_services(struct survey *v, struct snapshot *s, const struct config *config,
                             const uint32_t *active)
{
	const struct services *list = &v->source.world->services;

	s->n_services = atomic_load(&list->n);
	s->services = mem_alloc((s->n_services + 1) * sizeof(*s->services));
	for (size_t i = 0; i < s->n_services; i++) {
		const struct known_service *known = &list->list[i];
		struct service_view *view = &s->services[i];

		*view = (struct service_view){
		    .ports = known->ports,
		    .standing = standing_text(atomic_load(&known->standing), false, active[i]),
		    .active = active[i],
		    .counted = mem_alloc(sizeof(struct counted)),
		};
		for (size_t k = 0; k < config->n_services; k++)
			view->configured |= config->services[k].ports[0].first == known->first_port;
		for (uint32_t k = 0; k < v->source.n_trios; k++)
			counted_add(
			    view->counted,
			    counters_service(trio_counters(v->source.trios[k]), (uint32_t)i));
	}
}

static const char *health_of(const struct target *t)
{
	switch (atomic_load(&t->state)) {
	case TARGET_UNKNOWN:
		return "unknown";
	case TARGET_UNRESOLVED:
		return "unresolved";
	default:
		return target_is_avoided(t, clock_mono_ms()) ? "failed" : "up";
	}
}

static void look_at_servers(struct survey *v, struct snapshot *s, const uint32_t *active)
{
	const struct targets *list = &v->source.world->targets;
	uint32_t n = atomic_load(&list->n);

	s->n_servers = n < COUNTED_SERVERS ? n : COUNTED_SERVERS;
	s->servers = mem_alloc((s->n_servers + 1) * sizeof(*s->servers));
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct target *t = &list->list[i];

		s->servers[i] = (struct server_view){
		    .key = t->key,
		    .standing = standing_text(atomic_load(&t->standing), false, active[i]),
		    .health = health_of(t),
		    .active = active[i],
		    .addresses = atomic_load(&t->n),
		    .counted = mem_alloc(sizeof(struct counted)),
		};
		for (uint32_t k = 0; k < v->source.n_trios; k++)
			counted_add(
			    s->servers[i].counted,
			    counters_server(trio_counters(v->source.trios[k]), (uint32_t)i));
	}
}

/* A server that the file disables wherever it names it is out, unless tcpproxyctl says otherwise.
 */
static void note_member(struct survey *v, struct snapshot *s, const struct server *server,
                        bool *in_use)
{
	uint32_t i = targets_find(&v->source.world->targets, server->key);

	if (i >= s->n_servers)
		return;
	s->servers[i].configured = true;
	in_use[i] |= !server->disabled;
}

static void look_at_pools(struct survey *v, struct snapshot *s, const struct config *config)
{
	bool *in_use = mem_alloc((s->n_servers + 1) * sizeof(*in_use));

	for (size_t i = 0; i < config->n_sections; i++) {
		const struct section *section = &config->sections[i];
		uint32_t number = services_find(&v->source.world->services,
		                                config->services[section->service].ports[0].first);

		s->members = mem_resize(s->members, s->n_members + section->n_servers + 1,
		                        sizeof(*s->members));
		for (size_t k = 0; k < section->n_servers; k++) {
			const struct server *server = &section->servers[k];

			note_member(v, s, server, in_use);
			s->members[s->n_members++] = (struct member_view){
			    .service = number < s->n_services ? s->services[number].ports : "",
			    .rule = snapshot_keep(s, section->origin),
			    .server = snapshot_keep(s, server->key),
			    .weight = server->weight,
			    .max = server->max,
			    .backup = server->backup,
			    .disabled = server->disabled,
			};
		}
	}
	for (size_t i = 0; i < s->n_servers; i++)
		if (s->servers[i].configured && !in_use[i])
			s->servers[i].standing =
			    standing_text(atomic_load(&v->source.world->targets.list[i].standing),
			                  true, s->servers[i].active);
	free(in_use);
}

/* ---- the whole ---- */

struct snapshot *survey_take(struct survey *v, const struct config *config, uint64_t generation,
                             bool connections)
{
	const struct deeds *deeds = &v->source.world->deeds;
	uint32_t *of_service = mem_alloc(COUNTED_SERVICES * sizeof(*of_service));
	uint32_t *of_server = mem_alloc(COUNTED_SERVERS * sizeof(*of_server));
	struct snapshot *s = snapshot_new();

	s->version = TCPPROXY_VERSION;
	s->wall_us = clock_wall_us();
	s->started_wall_us = deeds->started_wall_us;
	s->generation = generation;
	s->reloads = atomic_load(&deeds->reloads);
	s->reloads_failed = atomic_load(&deeds->reloads_failed);
	s->reload_wall_us = atomic_load(&deeds->reload_wall_us);
	s->reload_failed = atomic_load(&deeds->reload_failed);
	s->upgrades = atomic_load(&deeds->upgrades);
	s->upgrades_failed = atomic_load(&deeds->upgrades_failed);
	s->lines_lost = atomic_load(&deeds->lines_lost);
	s->n_workers = v->source.n_trios;
	s->workers = mem_alloc((s->n_workers + 1) * sizeof(*s->workers));
	for (uint32_t i = 0; i < s->n_workers; i++)
		look_at_worker(v, s, i);
	look_at_all_rows(v, s, of_service, of_server, connections);
	look_at_services(v, s, config, of_service);
	look_at_servers(v, s, of_server);
	look_at_pools(v, s, config);
	free(of_service);
	free(of_server);
	return s;
}
