/* render_text.c - a snapshot as tables for people, as tcpproxyctl shows it. */
#include <inttypes.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "stats/render.h"
#include "stats/table.h"

static uint64_t value(const struct counted *c, enum counter which)
{
	return atomic_load_explicit(&c->values[which], memory_order_relaxed);
}

/* ---- status ---- */

static void add_age(struct buf *out, int64_t us)
{
	int64_t s = us / 1000000;

	if (s >= 86400)
		buf_addf(out, "%" PRId64 "d ", s / 86400);
	if (s >= 3600)
		buf_addf(out, "%" PRId64 "h ", s / 3600 % 24);
	if (s >= 60)
		buf_addf(out, "%" PRId64 "m ", s / 60 % 60);
	buf_addf(out, "%" PRId64 "s", s % 60);
}

static void add_head(const struct snapshot *s, struct buf *out)
{
	char time[CLOCK_TEXT_MAX];

	buf_addf(out, "tcpproxy %s, process %d, running for ", s->version, s->pid);
	add_age(out, s->wall_us - s->started_wall_us);
	buf_addf(out, "%s\n", s->stopping ? ", stopping" : "");
	buf_addf(out, "configuration: %s, generation %" PRIu64 "\n",
	         s->config_path ? s->config_path : "the command line", s->generation);
	if (s->reload_wall_us)
		buf_addf(out, "last reload: %s at %s (%" PRIu64 " done, %" PRIu64 " failed)\n",
		         s->reload_failed ? "FAILED" : "done", clock_format(s->reload_wall_us, time), s->reloads,
		         s->reloads_failed);
	if (s->upgrades + s->upgrades_failed)
		buf_addf(out, "upgrades: %" PRIu64 " done, %" PRIu64 " failed\n", s->upgrades, s->upgrades_failed);
	buf_addf(out, "log: level %s, %" PRIu64 " lines lost\n", s->log_level, s->lines_lost);
}

static const char *service_state(const struct service_view *v)
{
	if (!v->configured)
		return "removed";
	return v->refusing && strcmp(v->admin_state, "enabled") == 0 ? "refusing" : v->admin_state;
}

static void add_services(const struct snapshot *s, struct buf *out)
{
	static const char *const heads[] = {"SERVICE", "STATE", ">ACTIVE",  ">WAITING", ">TOTAL",
	                                    ">UP",     ">DOWN", ">SERVERS", NULL};
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < s->n_services; i++) {
		const struct service_view *v = &s->services[i];

		if (!v->configured && v->active == 0)
			continue;
		table_text(&t, v->label);
		table_text(&t, service_state(v));
		table_addf(&t, "%u", v->active);
		table_addf(&t, "%u", v->waiting);
		table_addf(&t, "%" PRIu64, value(v->counted, COUNT_connections));
		table_amount(&t, value(v->counted, COUNT_client_bytes));
		table_amount(&t, value(v->counted, COUNT_server_bytes));
		if (v->servers > 0)
			table_addf(&t, "%u/%u", v->usable, v->servers);
		else
			table_text(&t, NULL);
	}
	table_print(&t, out);
}

static void add_servers(const struct snapshot *s, struct buf *out)
{
	static const char *const heads[] = {"SERVER", "STATE", "HEALTH", ">ACTIVE", ">TOTAL", ">FAILED",
	                                    ">UP",    ">DOWN", ">SINCE", "WHY",     NULL};
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct server_view *v = &s->servers[i];

		if (!v->configured && v->active == 0)
			continue;
		table_text(&t, v->label);
		table_text(&t, v->configured ? v->admin_state : "removed");
		table_text(&t, v->health);
		table_addf(&t, "%u", v->active);
		table_addf(&t, "%" PRIu64, value(v->counted, COUNT_connections));
		table_addf(&t, "%" PRIu64,
		           value(v->counted, COUNT_connect_failures) + value(v->counted, COUNT_connect_timeouts) +
		                   value(v->counted, COUNT_unresolved));
		table_amount(&t, value(v->counted, COUNT_client_bytes));
		table_amount(&t, value(v->counted, COUNT_server_bytes));
		table_time(&t, v->health_us);
		table_text(&t, v->why);
	}
	table_print(&t, out);
}

static void add_workers(const struct snapshot *s, struct buf *out)
{
	static const char *const heads[] = {"WORKER",    ">PID",       ">KEEPERS", ">ACTIVE", ">ROOM", ">EARLY",
	                                    "ACCEPTING", ">TAKEOVERS", ">PIPES",   ">MEMORY", NULL};
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < s->n_workers; i++) {
		const struct worker_view *v = &s->workers[i];

		table_addf(&t, "%u", v->number);
		if (v->pid > 0)
			table_addf(&t, "%d", v->pid);
		else
			table_text(&t, NULL);
		table_addf(&t, "%u", v->keepers);
		table_addf(&t, "%u", v->active);
		table_addf(&t, "%u", v->slots);
		table_addf(&t, "%u/%u", v->early, v->early_max);
		table_text(&t, !v->serving ? "not yet" : v->accepting ? "yes" : "no");
		table_addf(&t, "%" PRIu64, v->takeovers);
		table_addf(&t, "%u", v->parked_pipes);
		table_amount(&t, v->memory);
	}
	table_print(&t, out);
}

void render_status(const struct snapshot *s, struct buf *out)
{
	add_head(s, out);
	buf_addc(out, '\n');
	add_services(s, out);
	buf_addc(out, '\n');
	add_servers(s, out);
	buf_addc(out, '\n');
	add_workers(s, out);
}

/* ---- connections ---- */

static void add_tcp(struct table *t, const struct connection_view *c)
{
	for (int side = 0; side < 2; side++) {
		if (c->tcp[side].known)
			table_time(t, c->tcp[side].rtt_us);
		else
			table_text(t, NULL);
	}
	if (c->tcp[0].known || c->tcp[1].known)
		table_addf(t, "%u/%u", c->tcp[0].retransmits, c->tcp[1].retransmits);
	else
		table_text(t, NULL);
}

void render_connections(const struct snapshot *s, struct buf *out)
{
	static const char *const heads[] = {">ID",   "SERVICE", "CLIENT", "SERVER", "STATE", ">AGE", ">UP",
	                                    ">DOWN", ">RATE",   ">RTT-C", ">RTT-S", ">RETR", NULL};
	char text[ADDR_TEXT_MAX];
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < s->n_connections; i++) {
		const struct connection_view *c = &s->connections[i];

		table_addf(&t, "%" PRIu64, c->id);
		table_text(&t, c->service);
		table_text(&t, addr_format_port(&c->client, text));
		table_text(&t, c->server);
		table_text(&t, c->state);
		table_time(&t, c->age_us);
		table_amount(&t, c->up);
		table_amount(&t, c->down);
		table_amount(&t, c->rate_up + c->rate_down);
		add_tcp(&t, c);
	}
	table_print(&t, out);
}

/* ---- counters ---- */

static void add_counted(struct table *t, const char *of, const char *name, const struct counted *c, bool service)
{
	for (int i = 0; i < COUNTERS; i++) {
		if (!(service ? counter_info[i].service_metric : counter_info[i].server_metric))
			continue;
		table_text(t, of);
		table_text(t, name);
		table_text(t, counter_info[i].name);
		table_addf(t, "%" PRIu64, value(c, (enum counter)i));
	}
	for (int i = END_NONE + 1; i < END_COUNT; i++) {
		if (c->ends[i] == 0)
			continue;
		table_text(t, of);
		table_text(t, name);
		table_addf(t, "end=%s", end_name((enum end)i));
		table_addf(t, "%" PRIu64, (uint64_t)c->ends[i]);
	}
}

void render_counters(const struct snapshot *s, struct buf *out)
{
	static const char *const heads[] = {"OF", "NAME", "COUNTER", ">VALUE", NULL};
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < s->n_services; i++)
		add_counted(&t, "service", s->services[i].label, s->services[i].counted, true);
	for (size_t i = 0; i < s->n_servers; i++)
		add_counted(&t, "server", s->servers[i].label, s->servers[i].counted, false);
	table_print(&t, out);
}
