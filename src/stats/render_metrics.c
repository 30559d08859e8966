/* render_metrics.c - a snapshot as metrics, in the text format of Prometheus. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/utf8.h"
#include "stats/render.h"

/* ---- the format ---- */

static void family(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_addf(out, "# HELP tcpproxy_%s %s\n# TYPE tcpproxy_%s %s\n", name, help, name, type);
}

/* A label's value: \, " and newlines are escaped; a byte that is not a character becomes U+FFFD, because readers of
 * this take nothing of a text that is not UTF-8. */
static void add_label(struct buf *out, const char *key, const char *label)
{
	buf_addf(out, "%s=\"", key);
	for (size_t n; *label; label += n) {
		n = utf8_length(label, strnlen(label, UTF8_MAX));
		if (*label == '\n')
			buf_adds(out, "\\n");
		else if (*label == '"' || *label == '\\')
			buf_addf(out, "\\%c", *label);
		else if (n > 0)
			buf_add(out, label, n);
		else
			buf_adds(out, "\xef\xbf\xbd");
		n += n == 0;
	}
	buf_addc(out, '"');
}

/* key NULL: no label. */
static void sample(struct buf *out, const char *name, const char *key, const char *label, uint64_t value)
{
	buf_addf(out, "tcpproxy_%s", name);
	if (key) {
		buf_addc(out, '{');
		add_label(out, key, label);
		buf_addc(out, '}');
	}
	buf_addf(out, " %" PRIu64 "\n", value);
}

static void single(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	family(out, name, type, help);
	sample(out, name, NULL, NULL, value);
}

static void add_seconds(struct buf *out, uint64_t us)
{
	buf_addf(out, "%" PRIu64 ".%06u", us / 1000000, (unsigned)(us % 1000000));
}

/* ---- services and servers: the same kind of numbers ---- */

struct counted_view {
	const char *label;
	uint32_t active;
	const struct counted *counted;
};

struct group {
	const char *key;    /* of the label */
	const char *prefix; /* of the names */
	struct counted_view *list;
	size_t n;
};

static const char *name_in(const struct group *g, const char *name, struct buf *scratch)
{
	buf_clear(scratch);
	buf_addf(scratch, "%s%s", g->prefix, name);
	return scratch->s;
}

static void add_counters(const struct group *g, bool service, struct buf *scratch, struct buf *out)
{
	for (int i = 0; i < COUNTERS; i++) {
		const struct counter_info *info = &counter_info[i];
		const char *metric = service ? info->service_metric : info->server_metric;

		if (!metric)
			continue;
		name_in(g, metric, scratch);
		buf_adds(scratch, "_total");
		family(out, scratch->s, "counter", service ? info->service_help : info->server_help);
		for (size_t k = 0; k < g->n; k++)
			sample(out, scratch->s, g->key, g->list[k].label, g->list[k].counted->values[i]);
	}
}

static void add_active(const struct group *g, const char *name, const char *help, struct buf *scratch, struct buf *out)
{
	family(out, name_in(g, name, scratch), "gauge", help);
	for (size_t k = 0; k < g->n; k++)
		sample(out, scratch->s, g->key, g->list[k].label, g->list[k].active);
}

static void add_ends(const struct group *g, const char *help, struct buf *scratch, struct buf *out)
{
	family(out, name_in(g, "connections_ended_total", scratch), "counter", help);
	for (size_t k = 0; k < g->n; k++)
		for (int i = END_NONE + 1; i < END_COUNT; i++) {
			if (g->list[k].counted->ends[i] == 0)
				continue;
			buf_addf(out, "tcpproxy_%s{", scratch->s);
			add_label(out, g->key, g->list[k].label);
			buf_addf(out, ",reason=\"%s\"} %llu\n", end_name((enum end)i),
			         (unsigned long long)g->list[k].counted->ends[i]);
		}
}

static void add_one_histogram(const struct group *g, const struct counted_view *v, const char *name,
                              const struct histogram *h, const int64_t *bounds, struct buf *out)
{
	uint64_t sum = 0;

	for (int i = 0; i <= HISTOGRAM_BOUNDS; i++) {
		sum += h->buckets[i];
		buf_addf(out, "tcpproxy_%s_bucket{", name);
		add_label(out, g->key, v->label);
		if (i < HISTOGRAM_BOUNDS)
			buf_addf(out, ",le=\"%g\"} %" PRIu64 "\n", (double)bounds[i] / 1e6, sum);
		else
			buf_addf(out, ",le=\"+Inf\"} %" PRIu64 "\n", sum);
	}
	buf_addf(out, "tcpproxy_%s_sum{", name);
	add_label(out, g->key, v->label);
	buf_adds(out, "} ");
	add_seconds(out, h->sum_us);
	buf_addf(out, "\ntcpproxy_%s_count{", name);
	add_label(out, g->key, v->label);
	buf_addf(out, "} %" PRIu64 "\n", sum);
}

static void add_histograms(const struct group *g, const char *connect_help, const char *duration_help,
                           struct buf *scratch, struct buf *out)
{
	family(out, name_in(g, "connect_duration_seconds", scratch), "histogram", connect_help);
	for (size_t k = 0; k < g->n; k++)
		add_one_histogram(g, &g->list[k], scratch->s, &g->list[k].counted->connect, connect_bounds_us, out);
	family(out, name_in(g, "connection_duration_seconds", scratch), "histogram", duration_help);
	for (size_t k = 0; k < g->n; k++)
		add_one_histogram(g, &g->list[k], scratch->s, &g->list[k].counted->duration, duration_bounds_us, out);
}

/* By a word more than the service; those that never were are left out. */
static void add_words(const struct group *g, const char *name, const char *key, const char *word, size_t k,
                      uint64_t value, struct buf *out)
{
	if (value == 0)
		return;
	buf_addf(out, "tcpproxy_%s{", name);
	add_label(out, g->key, g->list[k].label);
	buf_addf(out, ",%s=\"%s\"} %" PRIu64 "\n", key, word, value);
}

static void add_headers(const struct group *g, struct buf *out)
{
	family(out, "proxy_headers_total", "counter", "Headers of the PROXY protocol that have come, by version.");
	for (size_t k = 0; k < g->n; k++)
		for (int i = 0; i < HEADER_KINDS; i++)
			add_words(g, "proxy_headers_total", "version", header_kind_names[i], k,
			          g->list[k].counted->headers[i], out);
	family(out, "proxy_header_errors_total", "counter",
	       "Clients that were reset for their PROXY header, by reason.");
	for (size_t k = 0; k < g->n; k++)
		for (int i = WHY_TIMEOUT; i <= WHY_CROWD; i++)
			add_words(g, "proxy_header_errors_total", "why", why_name((enum why)i), k,
			          g->list[k].counted->header_errors[i - WHY_TIMEOUT], out);
}

static void add_refused(const struct group *g, struct buf *out)
{
	family(out, "refused_total", "counter", "Clients that were refused, by the reason that their record says.");
	for (size_t k = 0; k < g->n; k++)
		for (int i = WHY_NONE + 1; i < WHY_COUNT; i++)
			add_words(g, "refused_total", "why", why_name((enum why)i), k, g->list[k].counted->refused[i],
			          out);
}

static struct counted_view *views(size_t n)
{
	return mem_alloc((n + 1) * sizeof(struct counted_view));
}

static void add_services(const struct snapshot *s, struct buf *scratch, struct buf *out)
{
	struct group g = {.key = "service", .prefix = "", .list = views(s->n_services), .n = s->n_services};

	for (size_t i = 0; i < g.n; i++)
		g.list[i] = (struct counted_view){s->services[i].label, s->services[i].active, s->services[i].counted};
	add_active(&g, "connections", "Connections that there are now.", scratch, out);
	add_counters(&g, true, scratch, out);
	add_ends(&g, "Connections that have ended, by who ended them first and how.", scratch, out);
	add_refused(&g, out);
	add_headers(&g, out);
	add_histograms(&g, "Time from accepting a client to being connected to its server.",
	               "Time from accepting a client to the end of its connection.", scratch, out);
	family(out, "service_waiting", "gauge", "Clients that wait for a place, or for a server.");
	for (size_t i = 0; i < g.n; i++)
		sample(out, "service_waiting", g.key, g.list[i].label, s->services[i].waiting);
	family(out, "service_enabled", "gauge", "Whether clients are let in (tcpproxyctl disable).");
	for (size_t i = 0; i < g.n; i++)
		sample(out, "service_enabled", g.key, g.list[i].label,
		       strcmp(s->services[i].admin_state, "enabled") == 0);
	family(out, "service_refusing", "gauge", "Whether a port of it refuses clients, because no server is usable.");
	for (size_t i = 0; i < g.n; i++)
		sample(out, "service_refusing", g.key, g.list[i].label, s->services[i].refusing);
	free(g.list);
}

static const char *const states[] = {"up", "down", "unknown", "unresolved", "failed", "untried", "ejected"};

static void sample_two(struct buf *out, const char *name, const char *label, const char *key, const char *text,
                       uint64_t value)
{
	buf_addf(out, "tcpproxy_%s{", name);
	add_label(out, "server", label);
	buf_addc(out, ',');
	add_label(out, key, text);
	buf_addf(out, "} %" PRIu64 "\n", value);
}

static void add_states(const struct snapshot *s, struct buf *out)
{
	family(out, "backend_state", "gauge", "1 for the state that this server is in.");
	for (size_t i = 0; i < s->n_servers; i++)
		for (size_t k = 0; k < ARRAY_LEN(states); k++)
			sample_two(out, "backend_state", s->servers[i].metric, "state", states[k],
			           strcmp(s->servers[i].health, states[k]) == 0);
}

static void add_ejections(const struct snapshot *s, struct buf *out)
{
	family(out, "backend_ejections_total", "counter",
	       "How often this server was left alone, because clients failed there.");
	for (size_t i = 0; i < s->n_servers; i++)
		sample(out, "backend_ejections_total", "server", s->servers[i].metric, s->servers[i].ejections);
}

/* Of those that are checked. */
static void add_checks(const struct snapshot *s, struct buf *out)
{
	static const char *const results[] = {"up", "down", "timeout"};
	static const char *const to[] = {"unknown", "up", "down"};

	family(out, "backend_checks_total", "counter", "Answers to checks of this server.");
	for (size_t i = 0; i < s->n_servers; i++)
		for (size_t k = 0; k < 3 && s->servers[i].checks.any; k++)
			sample_two(out, "backend_checks_total", s->servers[i].metric, "result", results[k],
			           s->servers[i].checks.answers[k]);
	family(out, "backend_changes_total", "counter", "How often checks have found this server in another state.");
	for (size_t i = 0; i < s->n_servers; i++)
		for (size_t k = 1; k < 3 && s->servers[i].checks.any; k++)
			sample_two(out, "backend_changes_total", s->servers[i].metric, "to", to[k],
			           s->servers[i].checks.changes[k]);
	family(out, "backend_check_duration_seconds", "gauge", "How long the last check of this server took.");
	for (size_t i = 0; i < s->n_servers; i++) {
		if (!s->servers[i].checks.any || s->servers[i].checks.took_us < 0)
			continue;
		buf_adds(out, "tcpproxy_backend_check_duration_seconds{");
		add_label(out, "server", s->servers[i].metric);
		buf_adds(out, "} ");
		add_seconds(out, (uint64_t)s->servers[i].checks.took_us);
		buf_addc(out, '\n');
	}
	family(out, "names_total", "counter",
	       "Questions for names of servers: answered, answered that there is none, failed.");
	for (int i = 0; i < NAME_ANSWERS; i++)
		sample(out, "names_total", "result", name_answer_word((enum name_answer)i), s->names[i]);
	single(out, "checks_late_total", "counter", "Checks that began later than they should have.", s->checks_late);
}

static void add_weights(const struct snapshot *s, struct buf *out)
{
	family(out, "backend_weight", "gauge",
	       "The weight that this server has now; the first one, where services differ.");
	for (size_t i = 0; i < s->n_servers; i++) {
		if (!s->servers[i].in_pool)
			continue;
		buf_adds(out, "tcpproxy_backend_weight{");
		add_label(out, "server", s->servers[i].metric);
		buf_adds(out, "} ");
		render_weight(s->servers[i].weight_milli, out);
		buf_addc(out, '\n');
	}
}

static void add_usable(const struct snapshot *s, struct buf *out)
{
	family(out, "service_servers_usable", "gauge", "Servers of this service to which clients may come now.");
	for (size_t i = 0; i < s->n_services; i++)
		if (s->services[i].servers > 0)
			sample(out, "service_servers_usable", "service", s->services[i].label, s->services[i].usable);
}

/* Of a server that was not tried yet nothing is known, so there is no sample. */
static void add_health(const struct snapshot *s, struct buf *out)
{
	family(out, "backend_up", "gauge",
	       "Whether the last check of this server, or the last attempt to connect to it, worked; nothing before "
	       "the first one.");
	for (size_t i = 0; i < s->n_servers; i++)
		if (strcmp(s->servers[i].health, "untried") != 0 && strcmp(s->servers[i].health, "unknown") != 0)
			sample(out, "backend_up", "server", s->servers[i].metric,
			       strcmp(s->servers[i].health, "up") == 0);
	family(out, "backend_failed_seconds", "gauge",
	       "How long this server has not answered, and why the last attempt failed; only of those.");
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct server_view *v = &s->servers[i];

		if (!v->why || v->health_us < 0)
			continue;
		buf_adds(out, "tcpproxy_backend_failed_seconds{");
		add_label(out, "server", v->metric);
		buf_addc(out, ',');
		add_label(out, "why", v->why);
		buf_adds(out, "} ");
		add_seconds(out, (uint64_t)v->health_us);
		buf_addc(out, '\n');
	}
}

static void add_servers(const struct snapshot *s, struct buf *scratch, struct buf *out)
{
	struct group g = {.key = "server", .prefix = "backend_", .list = views(s->n_servers), .n = s->n_servers};

	for (size_t i = 0; i < g.n; i++)
		g.list[i] = (struct counted_view){s->servers[i].metric, s->servers[i].active, s->servers[i].counted};
	add_active(&g, "active_connections", "Connections to this server that there are now.", scratch, out);
	add_counters(&g, false, scratch, out);
	add_ends(&g, "Connections to this server that have ended, by who ended them first and how.", scratch, out);
	add_histograms(&g, "Time from accepting a client to being connected to this server.",
	               "Time from accepting a client of this server to the end of its connection.", scratch, out);
	add_health(s, out);
	add_states(s, out);
	add_ejections(s, out);
	add_checks(s, out);
	add_weights(s, out);
	add_usable(s, out);
	family(out, "backend_enabled", "gauge",
	       "Whether this server gets new connections (tcpproxyctl disable, or \"disabled\" in "
	       "the file).");
	for (size_t i = 0; i < g.n; i++)
		sample(out, "backend_enabled", g.key, g.list[i].label,
		       strcmp(s->servers[i].admin_state, "enabled") == 0);
	free(g.list);
}

/* ---- workers ---- */

static uint64_t worker_serving(const struct worker_view *w)
{
	return w->serving;
}
static uint64_t worker_accepting(const struct worker_view *w)
{
	return w->accepting;
}
static uint64_t worker_keepers(const struct worker_view *w)
{
	return w->keepers;
}
static uint64_t worker_takeovers(const struct worker_view *w)
{
	return w->takeovers;
}
static uint64_t worker_active(const struct worker_view *w)
{
	return w->active;
}
static uint64_t worker_slots(const struct worker_view *w)
{
	return w->slots;
}
static uint64_t worker_descriptors(const struct worker_view *w)
{
	return w->descriptors;
}
static uint64_t worker_pipes(const struct worker_view *w)
{
	return w->parked_pipes;
}
static uint64_t worker_early(const struct worker_view *w)
{
	return w->early;
}

static uint64_t worker_early_max(const struct worker_view *w)
{
	return w->early_max;
}

static uint64_t worker_memory(const struct worker_view *w)
{
	return w->memory;
}

static const struct worker_metric {
	const char *name, *type, *help;
	uint64_t (*value)(const struct worker_view *w);
} worker_metrics[] = {
        {"worker_up", "gauge", "Whether the worker serves.", worker_serving},
        {"worker_accepting", "gauge",
         "Whether the worker takes new connections now: not while it has more than its share.", worker_accepting},
        {"worker_keepers", "gauge", "Keepers of the worker that live, of two.", worker_keepers},
        {"worker_takeovers_total", "counter",
         "How often another worker took up all connections, after a death or in an upgrade.", worker_takeovers},
        {"worker_connections", "gauge", "Connections of the worker.", worker_active},
        {"worker_connections_max", "gauge", "Connections that the worker can have.", worker_slots},
        {"worker_descriptors_max", "gauge", "Descriptors that the worker can have.", worker_descriptors},
        {"worker_early_connections", "gauge",
         "Connections that wait for a PROXY header, or for the first words of their client.", worker_early},
        {"worker_early_connections_max", "gauge", "How many may; then the one that has waited longest is reset.",
         worker_early_max},
        {"worker_parked_pipes", "gauge", "Pipes that hold bytes which a slow reader has not taken yet.", worker_pipes},
        {"worker_resident_memory_bytes", "gauge", "Resident memory of the worker.", worker_memory},
};

static void add_workers(const struct snapshot *s, struct buf *scratch, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(worker_metrics); i++) {
		const struct worker_metric *m = &worker_metrics[i];

		family(out, m->name, m->type, m->help);
		for (size_t k = 0; k < s->n_workers; k++) {
			buf_clear(scratch);
			buf_addf(scratch, "%u", s->workers[k].number);
			sample(out, m->name, "worker", scratch->s, m->value(&s->workers[k]));
		}
	}
}

/* ---- the program ---- */

static void add_program(const struct snapshot *s, struct buf *out)
{
	family(out, "build_info", "gauge", "The version that runs.");
	sample(out, "build_info", "version", s->version, 1);
	family(out, "start_time_seconds", "gauge", "When it was started, in seconds since 1970.");
	buf_adds(out, "tcpproxy_start_time_seconds ");
	add_seconds(out, (uint64_t)s->started_wall_us);
	buf_addc(out, '\n');
	family(out, "reloads_total", "counter", "Reloads of the configuration, by their result.");
	sample(out, "reloads_total", "result", "done", s->reloads);
	sample(out, "reloads_total", "result", "failed", s->reloads_failed);
	single(out, "last_reload_successful", "gauge", "Whether the last reload took effect; 1 without one.",
	       !s->reload_failed);
	family(out, "last_reload_timestamp_seconds", "gauge",
	       "When the last reload was tried, in seconds since 1970; 0: none was.");
	buf_adds(out, "tcpproxy_last_reload_timestamp_seconds ");
	add_seconds(out, (uint64_t)s->reload_wall_us);
	buf_addc(out, '\n');
	single(out, "configuration_generation", "gauge", "The number of the configuration in force.", s->generation);
	family(out, "upgrades_total", "counter", "Upgrades to another program, by their result.");
	sample(out, "upgrades_total", "result", "done", s->upgrades);
	sample(out, "upgrades_total", "result", "failed", s->upgrades_failed);
	family(out, "programs_failed_total", "counter",
	       "Programs that could not be started, took too long, or ended by a signal; of notify also those whose "
	       "exit status was not 0, of servers those that ended, and lists that are wrong.");
	for (int i = 0; i < PROGRAM_KINDS; i++)
		sample(out, "programs_failed_total", "kind", program_kind_name((enum program_kind)i),
		       s->programs_failed[i]);
	single(out, "log_lines_lost_total", "counter", "Lines of the log that could not be written.", s->lines_lost);
}

void render_metrics(const struct snapshot *s, struct buf *out)
{
	struct buf scratch = BUF_INIT;

	add_program(s, out);
	add_services(s, &scratch, out);
	add_servers(s, &scratch, out);
	add_workers(s, &scratch, out);
	buf_release(&scratch);
}
