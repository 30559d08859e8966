/* render_json.c - a snapshot as JSON, for tcpproxyctl -j and the page. */
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "base/record.h"
#include "stats/render.h"

static void add_counted(struct buf *out, const struct counted *c, bool service)
{
	for (int i = 0; i < COUNTERS; i++)
		if (service ? counter_info[i].service_metric : counter_info[i].server_metric)
			json_count(out, counter_info[i].name, c->values[i]);
	json_open(out, "ends", '{');
	for (int i = END_NONE + 1; i < END_COUNT; i++)
		json_count(out, end_name((enum end)i), c->ends[i]);
	buf_addc(out, '}');
}

static void add_time(struct buf *out, const char *key, int64_t wall_us)
{
	char time[CLOCK_TEXT_MAX];

	json_text(out, key, wall_us ? clock_format(wall_us, time) : NULL);
}

/* ---- status ---- */

static void add_services(const struct snapshot *s, struct buf *out)
{
	json_open(out, "services", '[');
	for (size_t i = 0; i < s->n_services; i++) {
		const struct service_view *v = &s->services[i];

		json_open(out, NULL, '{');
		json_text(out, "service", v->label);
		json_text(out, "ports", v->ports);
		json_text(out, "within", v->within);
		json_text(out, "state", v->admin_state);
		json_bool(out, "refusing", v->refusing);
		json_bool(out, "configured", v->configured);
		json_count(out, "active", v->active);
		json_count(out, "waiting", v->waiting);
		json_count(out, "servers", v->servers);
		json_count(out, "usable", v->usable);
		add_counted(out, v->counted, true);
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

static void add_servers(const struct snapshot *s, struct buf *out)
{
	json_open(out, "servers", '[');
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct server_view *v = &s->servers[i];

		json_open(out, NULL, '{');
		json_text(out, "server", v->label);
		json_text(out, "spelt", v->spelt);
		json_text(out, "service", v->service);
		json_text(out, "state", v->admin_state);
		json_text(out, "health", v->health);
		json_text(out, "why", v->why);
		add_time(out, "since", v->health_us < 0 ? 0 : s->wall_us - v->health_us);
		json_bool(out, "configured", v->configured);
		json_bool(out, "checked", v->checks.any);
		json_count(out, "addresses", v->addresses);
		if (v->in_pool) {
			json_key(out, "weight");
			render_weight(v->weight_milli, out);
			json_count(out, "weight_file", v->weight_file);
		} else {
			json_text(out, "weight", NULL);
			json_text(out, "weight_file", NULL);
		}
		json_count(out, "active", v->active);
		add_counted(out, v->counted, false);
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

static void add_members(const struct snapshot *s, struct buf *out)
{
	json_open(out, "pools", '[');
	for (size_t i = 0; i < s->n_members; i++) {
		const struct member_view *v = &s->members[i];

		json_open(out, NULL, '{');
		json_text(out, "service", v->service);
		json_text(out, "rule", v->rule);
		json_text(out, "server", v->server);
		json_key(out, "weight");
		render_weight(v->weight_milli, out);
		json_count(out, "max", v->max);
		json_bool(out, "backup", v->backup);
		json_bool(out, "disabled", v->disabled);
		json_bool(out, "usable", v->usable);
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

static void add_workers(const struct snapshot *s, struct buf *out)
{
	json_open(out, "workers", '[');
	for (size_t i = 0; i < s->n_workers; i++) {
		const struct worker_view *v = &s->workers[i];

		json_open(out, NULL, '{');
		json_count(out, "worker", v->number);
		json_count(out, "pid", v->pid > 0 ? (uint64_t)v->pid : 0);
		json_bool(out, "serving", v->serving);
		json_bool(out, "accepting", v->accepting);
		json_count(out, "keepers", v->keepers);
		json_count(out, "active", v->active);
		json_count(out, "slots", v->slots);
		json_count(out, "descriptors", v->descriptors);
		json_count(out, "pipes", v->parked_pipes);
		json_count(out, "early", v->early);
		json_count(out, "early_max", v->early_max);
		json_count(out, "takeovers", v->takeovers);
		json_count(out, "memory", v->memory);
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

void render_status_json(const struct snapshot *s, struct buf *out)
{
	json_open(out, NULL, '{');
	json_text(out, "version", s->version);
	json_count(out, "pid", (uint64_t)s->pid);
	add_time(out, "time", s->wall_us);
	add_time(out, "started", s->started_wall_us);
	json_bool(out, "stopping", s->stopping);
	json_text(out, "configuration", s->config_path);
	json_count(out, "generation", s->generation);
	json_count(out, "reloads", s->reloads);
	json_count(out, "reloads_failed", s->reloads_failed);
	add_time(out, "last_reload", s->reload_wall_us);
	json_bool(out, "last_reload_failed", s->reload_failed);
	json_count(out, "upgrades", s->upgrades);
	json_count(out, "upgrades_failed", s->upgrades_failed);
	json_text(out, "log_level", s->log_level);
	json_count(out, "log_lines_lost", s->lines_lost);
	add_services(s, out);
	add_servers(s, out);
	add_members(s, out);
	add_workers(s, out);
	buf_adds(out, "}\n");
}

/* ---- connections ---- */

static const char *host_port_text(const struct addr *a, char *text)
{
	return a->family == AF_UNSPEC ? NULL : addr_format_port(a, text);
}

/* As in the record: the address that is or was tried. */
static const char *server_text(const struct connection_view *c, char *text)
{
	return c->server_text ? c->server_text : host_port_text(&c->server_addr, text);
}

static void add_tcp(struct buf *out, const struct tcp_view *v, const char *rtt, const char *retransmits)
{
	json_seconds(out, rtt, v->known ? (int64_t)v->rtt_us : -1);
	if (v->known) {
		json_count(out, retransmits, v->retransmits);
	} else {
		json_key(out, retransmits);
		buf_adds(out, "null");
	}
}

/* As in a record: what nobody has said has no key. */
static void add_if_said(struct buf *out, const char *key, const char *value)
{
	if (value)
		json_text(out, key, value);
}

static void add_connection(const struct connection_view *c, struct buf *out)
{
	char text[ADDR_TEXT_MAX];

	json_open(out, NULL, '{');
	json_count(out, "id", c->id);
	json_text(out, "service", c->service);
	if (c->local.port || !addr_place(&c->local))
		json_count(out, "port", c->local.port);
	else
		json_text(out, "port", c->ports);
	json_text(out, "interface", record_interface(&c->local, c->ports, text));
	json_text(out, "client", host_port_text(&c->client, text));
	json_text(out, "name", c->name);
	json_text(out, "via", host_port_text(&c->via, text));
	add_if_said(out, "uid", c->uid);
	add_if_said(out, "authority", c->authority);
	json_text(out, "rule", c->rule);
	add_if_said(out, "sni", c->sni);
	add_if_said(out, "alpn", c->alpn);
	add_if_said(out, "protocol", c->protocol);
	json_text(out, "target", c->server);
	json_text(out, "server", server_text(c, text));
	json_count(out, "up", c->up);
	json_count(out, "down", c->down);
	json_seconds(out, "connect", c->connect_us);
	json_seconds(out, "duration", c->age_us);
	json_text(out, "state", c->state);
	json_seconds(out, "idle", c->idle_us);
	json_count(out, "rate_up", c->rate_up);
	json_count(out, "rate_down", c->rate_down);
	json_count(out, "worker", c->worker);
	add_tcp(out, &c->tcp[0], "client_rtt", "client_retransmits");
	add_tcp(out, &c->tcp[1], "server_rtt", "server_retransmits");
	buf_addc(out, '}');
}

void render_connections_json(const struct snapshot *s, struct buf *out)
{
	json_open(out, NULL, '[');
	for (size_t i = 0; i < s->n_connections; i++) {
		add_connection(&s->connections[i], out);
		if (i + 1 < s->n_connections)
			buf_adds(out, ",\n");
	}
	buf_adds(out, "]\n");
}

/* ---- counters ---- */

void render_counters_json(const struct snapshot *s, struct buf *out)
{
	json_open(out, NULL, '{');
	add_services(s, out);
	add_servers(s, out);
	buf_adds(out, "}\n");
}
