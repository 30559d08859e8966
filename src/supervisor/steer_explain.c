/* steer_explain.c - which rule would serve a client, and which server: by what is known of them now. Looked up, not tried. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/clock.h"
#include "base/mem.h"
#include "config/explain.h"
#include "ipc/server_state.h"
#include "ipc/slow_start.h"
#include "os/shm.h"
#include "proxy/route.h"
#include "supervisor/inspect.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

static const char *why_service_is_out(void *arg, const struct section *section)
{
	struct supervisor *s = arg;
	uint32_t i = world_service(s->children.workers.world, s->rules.config, section);

	return service_is_out(&s->children.workers.world->services, i) ? "is disabled or drained (tcpproxyctl)" : NULL;
}

/* ---- a server ---- */

/* Why it gets no new connection, whatever its state; NULL: it does. */
static const char *why_out(const struct world *w, const struct standing *of, const struct server *server)
{
	enum admin_state state = world_admin_state(w, of);

	if (state == ADMIN_STATE_DRAINING)
		return "drained (tcpproxyctl)";
	if (state == ADMIN_STATE_DISABLED)
		return "disabled (tcpproxyctl)";
	if (state == ADMIN_STATE_BY_FILE && server->disabled)
		return "disabled";
	if (world_weight(w, of) == 0)
		return world_has_weight(w, of) ? "of weight 0 (tcpproxyctl)" : "of weight 0";
	return world_is_out(w, of) ? "drained (its agent)" : NULL;
}

static void say_ejected(const struct world *w, uint32_t target, struct buf *out)
{
	int64_t left_ms = ejection_until_ms(&w->ejections[target]) - clock_mono_ms();

	buf_adds(out, ": ");
	ejection_say_why(&w->ejections[target], &w->experience[target], out);
	buf_addf(out, ", %.1f s left", (double)(left_ms > 0 ? left_ms : 0) / 1000);
}

/* "down: check tcp: connection refused" */
static void say_state(const struct world *w, const struct standing *of, struct buf *out)
{
	enum server_state state = server_state_now(w, of);
	char words[HEALTH_WORDS] = "";

	buf_adds(out, server_state_name(state));
	if (world_force(w, of) != FORCE_AUTO)
		buf_adds(out, " (tcpproxyctl force)");
	else if (state == STATE_FAILED)
		buf_addf(out, ": %s", target_error_text(target_health(&w->experience[of->target]).error));
	else if (state == STATE_UNRESOLVED)
		buf_addf(out, ": %s", target_error_text(TARGET_NO_ADDRESS));
	else if (state == STATE_EJECTED)
		say_ejected(w, of->target, out);
	else if (state == STATE_DOWN)
		health_words(&w->health[of->seat], words);
	if (*words)
		buf_addf(out, ": %s", words);
}

/* What is looked at. */
struct sight {
	struct supervisor *supervisor;
	struct world *world;
	const struct section *section; /* of our rules */
	const struct ruleset *rules;
	const struct pool *pool;
	struct limits limits;
	bool *equals; /* of each server: as good as the one that is chosen */
	bool sticks;  /* the client has been there */
};

/* Another section may eject it, which means nothing here. */
static struct standing standing_here(const struct sight *v, size_t i)
{
	struct standing of = standings_of(v->supervisor, v->section)[i];

	of.ejects = v->section->eject.for_ms > 0;
	return of;
}

static bool is_full(const struct sight *v, size_t i)
{
	const struct standing of = standing_here(v, i);
	uint32_t max = world_max(v->world, &of, v->section->servers[i].max);

	max = slow_start_max(v->world, v->section, &of, max, v->supervisor->loop.now_ms);
	return max && limits_count(&v->limits, v->pool->limit_keys[i]) >= max;
}

/* One that does not get the client, or not before others. */
static void say_other(const struct sight *v, size_t i, const struct standing *of, struct buf *out)
{
	const struct server *server = &v->section->servers[i];
	const char *out_why = why_out(v->world, of, server);

	buf_addf(out, "server: not %s: it is ", server_label(server));
	if (out_why) {
		buf_addf(out, "%s\n", out_why);
		return;
	}
	if (server->backup)
		buf_adds(out, "a backup, and ");
	say_state(v->world, of, out);
	buf_adds(out, is_full(v, i) ? ", and at max\n" : "\n");
}

static void say_others(const struct sight *v, struct buf *out)
{
	for (size_t i = 0; i < v->section->n_servers; i++) {
		const struct standing of = standing_here(v, i);

		if (!v->equals[i] && of.target < TARGETS_MAX && v->section->servers[i].kind != SERVER_PROGRAM)
			say_other(v, i, &of, out);
	}
}

/* ---- the one it is ---- */

static const char *way(const struct section *s)
{
	switch (s->balance) {
	case BALANCE_LEAST_CONNECTIONS:
		return "the one with the fewest connections of";
	case BALANCE_RANDOM:
		return "drawn of";
	case BALANCE_SOURCE:
		return "by the client's address, of";
	case BALANCE_HASH:
		return "by its key, of";
	case BALANCE_FIRST:
		return "in the order of the file, of";
	case BALANCE_ROUND_ROBIN:
		break;
	}
	return "the next of";
}

static void say_chosen(const struct sight *v, uint32_t chosen, const struct explain *q, struct buf *out)
{
	const struct section *s = v->section;
	const struct standing of = standing_here(v, chosen);
	size_t n = 0;

	for (size_t i = 0; i < s->n_servers; i++)
		n += v->equals[i];
	buf_adds(out, "server: ");
	explain_server(&s->servers[chosen], q, out);
	if (s->servers[chosen].kind == SERVER_PROGRAM) {
		buf_adds(out, "\n");
		return;
	}
	if (v->sticks)
		buf_adds(out, " (to which this client sticks)");
	else if (s->n_servers == 1)
		buf_adds(out, " (the only one)");
	else if (s->servers[chosen].backup)
		buf_adds(out, " (a backup)");
	else if (n == 1)
		buf_adds(out, " (the best one)");
	else
		buf_addf(out, " (%s %zu%s)", way(s), n, s->balance == BALANCE_ROUND_ROBIN ? ", which take turns" : "");
	if (of.target < TARGETS_MAX) {
		buf_adds(out, ", ");
		say_state(v->world, &of, out);
	}
	buf_adds(out, "\n");
}

/* ---- who would wait ---- */

static uint32_t count_waiting(const struct sight *v)
{
	struct snapshot *shot = inspect_take(v->supervisor, false);
	uint32_t number = world_service(v->world, v->supervisor->rules.config, v->section);
	uint32_t n = number < shot->n_services ? shot->services[number].waiting : 0;

	snapshot_free(shot);
	return n;
}

/* False: it would be refused. */
static bool say_waits(const struct sight *v, const char *why, bool waits, struct buf *out)
{
	if (waits)
		buf_addf(out, "waits: %s (%u waiting before)\n", why, count_waiting(v));
	else
		buf_addf(out, "server: none: %s\n", why);
	return waits;
}

static bool say_none(const struct sight *v, enum route_result result, struct buf *out)
{
	const struct section *s = v->section;

	if (result == ROUTE_ALL_FULL)
		return say_waits(v, "all servers at max", s->queue.time_ms > 0, out);
	if (s->on_down == ON_DOWN_HOLD)
		return say_waits(v, "no server is usable", true, out);
	buf_addf(out, "server: none is left%s\n", s->on_down == ON_DOWN_REFUSE ? ": the port refuses" : "");
	return false;
}

static bool say_choice(struct sight *v, const struct explain *q, struct buf *out)
{
	const struct section *s = &v->rules->config->sections[v->section->index];
	const struct stick *stick = &v->supervisor->children.workers.stick;
	const bool sticks = s->stick.time_ms && v->pool->n > 1 && stick->memory;
	const struct route_client client = {.now_ms = v->supervisor->loop.now_ms,
	                                    .patient = s->queue.time_ms > 0,
	                                    .addr = &q->client,
	                                    .stick = sticks ? stick : NULL,
	                                    .stick_key = sticks ? stick_key(stick, &q->client, v->pool->line) : 0};
	uint32_t chosen = 0;
	enum route_result result;

	if (!limits_have_place(&v->limits, v->rules, s))
		return say_waits(v, "the service is at max-connections", s->queue.time_ms > 0, out);
	result = route_explain(v->rules, s, v->world, &v->limits, &client, v->equals, &chosen);
	v->sticks = route_sticks(v->rules, s, v->world, &v->limits, &client, &chosen);
	if (v->sticks) {
		v->equals[chosen] = true;
		result = ROUTE_FOUND;
	}
	say_others(v, out);
	if (result != ROUTE_FOUND)
		return say_none(v, result, out);
	if ((s->queue.time_ms > 0 || s->on_down == ON_DOWN_HOLD) && count_waiting(v) > 0)
		say_waits(v, "others came first", true, out);
	say_chosen(v, chosen, q, out);
	explain_stick(s, out);
	explain_header_out(s, &s->servers[chosen], q, out);
	explain_source(v->rules->config, s, &s->servers[chosen], q, out);
	return true;
}

/* ---- the whole ---- */

/* As a worker holds them. NULL: there is no memory. */
static struct ruleset *load_rules(const struct supervisor *s)
{
	struct ruleset *rules = NULL;
	const void *block;
	size_t len;

	if (shm_map_sealed(s->rules.fd, &block, &len) == 0) {
		rules = ruleset_load(block, len, s->rules.generation, s->children.workers.world);
		munmap((void *)block, len);
	}
	return rules;
}

static bool say_server(void *arg, const struct section *section, const struct explain *q, struct buf *out)
{
	struct supervisor *s = arg;
	struct workers *ws = &s->children.workers;
	struct ruleset *rules = load_rules(s);
	struct sight v = {.supervisor = s,
	                  .world = ws->world,
	                  .section = section,
	                  .rules = rules,
	                  .limits = {.trios = ws->trios, .n_trios = ws->n}};
	bool served;

	if (!rules) {
		buf_adds(out, "server: not known: the rules cannot be read\n");
		return false;
	}
	v.pool = &rules->pools[section->index];
	v.equals = mem_alloc(section->n_servers + 1);
	served = say_choice(&v, q, out);
	free(v.equals);
	ruleset_free(rules);
	return served;
}

int steer_explain(struct supervisor *s, const char *client, const char *local, char *const *more, size_t n,
                  struct buf *out)
{
	struct explain q = {
	        .ifs = s->ifs, .n_ifs = s->n_ifs, .say_server = say_server, .why_closed = why_service_is_out, .arg = s};

	if (!explain_words(client, local, more, n, s->setup->world, &q, out))
		return -1;
	config_look_at_zones(s->rules.config, s->setup->world->interface_index, s->setup->world->arg);
	return config_explain(s->rules.config, &q, out);
}
