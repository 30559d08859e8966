#include "ipc/collect_parts.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "ipc/changes.h"
#include "ipc/eject_view.h"

/* ---- servers ---- */

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
static void set_known(struct snapshot *s, const struct world *w, struct server_view *v, const struct standing *of,
                      const struct checked *c)
{
	enum force force = world_force(w, of);

	set_health(v, &w->targets.list[of->target], &w->experience[of->target]);
	set_checked(s, w, v, c);
	if (force == FORCE_AUTO)
		return;
	v->health = force == FORCE_UP ? "up" : "down";
	v->why = "forced (tcpproxyctl)";
	v->health_us = -1;
}

/* In which it has its name. */
static const char *service_of(const struct world *w, const struct target *t)
{
	if (t->of_service == 0 || t->of_service > COUNTED_SERVICES)
		return NULL;
	return service_label(&w->services.list[t->of_service - 1]);
}

void collect_servers(const struct collect_source *source, struct snapshot *s, const uint32_t *active)
{
	const struct targets *list = &source->world->targets;
	uint32_t n = atomic_load(&list->n);
	struct checked *checked = mem_alloc(COUNTED_SERVERS * sizeof(*checked));

	s->n_servers = n < COUNTED_SERVERS ? n : COUNTED_SERVERS;
	look_at_seats(source->world, checked, s->n_servers);
	s->servers = mem_alloc((s->n_servers + 1) * sizeof(*s->servers));
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct target *t = &list->list[i];
		const struct standing of = world_standing_anywhere(source->world, (uint32_t)i);

		s->servers[i] = (struct server_view){
		        .label = target_label(t),
		        .spelt = t->key,
		        .name = t->called[0] ? t->called : NULL,
		        .service = service_of(source->world, t),
		        .of = target_line(list, t),
		        .stands = atomic_load(&t->stands),
		        .admin_state = admin_state_text(world_admin_state(source->world, &of), false, active[i]),
		        .active = active[i],
		        .addresses = atomic_load(&t->n),
		        .counted = mem_alloc(sizeof(struct counted)),
		};
		set_known(s, source->world, &s->servers[i], &of, &checked[i]);
		for (uint32_t k = 0; k < source->n_trios; k++)
			counted_add(s->servers[i].counted,
			            counters_server(trio_counters((const struct trio *)source->trios[k]), (uint32_t)i));
		if (atomic_load(&t->uses) > 0)
			counted_take_off(s->servers[i].counted, &source->world->counted_before[i]);
	}
	free(checked);
}

/* ---- what the file says of them ---- */

/* Whether clients may come to a server, wherever it stands. */
struct everywhere {
	unsigned state; /* enum admin_state, where `any` and not `mixed` */
	bool any, mixed;
	bool in_use; /* somewhere the file does not call it disabled */
};

static void stands_in(struct everywhere *e, const struct world *w, const struct config *config,
                      const struct section *section, const struct server *server, uint32_t target)
{
	struct standing of = {.target = target, .line = TARGET_NONE, .seat = SEAT_NONE};
	unsigned state;

	e->in_use |= !server->disabled;
	if (atomic_load(&w->spots.n) == 0) /* it is the same everywhere */
		return;
	of.line = world_line(w, config, section, server);
	of.service = world_service(w, config, section);
	of.whole = service_whole(&w->services, of.service);
	state = world_admin_state(w, &of);
	e->mixed |= e->any && e->state != state;
	e->state = state;
	e->any = true;
}

void collect_config(const struct world *w, struct snapshot *s, const struct config *config)
{
	struct everywhere *all = mem_alloc((s->n_servers + 1) * sizeof(*all));

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
			stands_in(&all[target], w, config, section, &section->servers[k], target);
			eject_view(s, w, section, target, false, &s->servers[target]);
		}
	}
	for (size_t i = 0; i < s->n_servers; i++) {
		const struct standing of = world_standing_anywhere(w, (uint32_t)i);
		unsigned state = all[i].any && !all[i].mixed ? all[i].state : world_admin_state(w, &of);

		if (s->servers[i].configured)
			s->servers[i].admin_state = admin_state_text(state, !all[i].in_use, s->servers[i].active);
	}
	free(all);
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
static void set_state(struct snapshot *s, const struct world *w, const struct section *section,
                      const struct standing *of, struct member_view *m)
{
	struct checked checked = {.seat = SEAT_NONE};
	struct server_view v = {0};

	if (of->seat < SEATS_MAX)
		add_seat(w, of->seat, &checked);
	member_view_now(w, section, of, m);
	set_known(s, w, &v, of, &checked);
	eject_view(s, w, section, of->target, true, &v);
	m->state = v.health;
	m->why = v.why;
	m->since_wall_us = v.health_us < 0 ? 0 : s->wall_us - v.health_us;
}

/* Also what was changed of more than it; the farthest first, as they would be said. */
static void set_changed(struct snapshot *s, const struct world *w, const struct server *server,
                        const struct standing *of, struct member_view *m)
{
	struct spoken list[SPOKEN_MAX];
	int64_t now_ms = clock_mono_ms();
	struct buf text = BUF_INIT;

	if (server->from == FROM_ADDED)
		changes_of_added(m->service, server, &text);
	for (size_t n = world_spoken(w, of, list); n-- > 0;)
		changes_of(w, &list[n], now_ms, &text);
	m->changed = keep_buf(s, &text);
}

static uint64_t failures_of(const struct server_view *v)
{
	return v->counted->values[COUNT_connect_failures] + v->counted->values[COUNT_connect_timeouts] +
	       v->counted->values[COUNT_unresolved];
}

static void set_server(struct snapshot *s, const struct world *w, const struct config *c, const struct section *section,
                       const struct server *server, const struct standing *of, struct member_view *m)
{
	if (m->target < s->n_servers) {
		m->server = s->servers[m->target].label;
		m->connections = s->servers[m->target].active;
		m->failures = failures_of(&s->servers[m->target]);
	} else {
		m->server = snapshot_keep(s, server_label(server), strlen(server_label(server)));
	}
	if (m->target < TARGETS_MAX) {
		set_state(s, w, section, of, m);
		set_changed(s, w, server, of, m);
		m->address = address_text(s, &w->targets.list[m->target], world_check_port(c, section, server));
	}
}

/* What lists of services and servers say of their pools. */
static void note_member(struct service_view *service, struct server_view *server, const struct member_view *m)
{
	if (service) {
		service->servers++;
		service->usable += m->usable;
	}
	if (server && !server->in_pool) {
		server->in_pool = true;
		server->weight_milli = m->weight_milli;
		server->weight_file = m->weight_file;
	}
}

void collect_pools(const struct world *w, struct snapshot *s, const struct config *config)
{
	int64_t now_ms = clock_mono_ms();

	for (size_t i = 0; i < config->n_sections; i++) {
		const struct section *section = &config->sections[i];
		uint32_t service = world_service(w, config, section);
		struct service_view *of = service < s->n_services ? &s->services[service] : NULL;
		const char *rule = snapshot_keep(s, section->origin, strlen(section->origin));

		s->members = mem_resize(s->members, s->n_members + section->n_servers + 1, sizeof(*s->members));
		for (size_t k = 0; k < section->n_servers; k++) {
			const struct server *server = &section->servers[k];
			const struct standing standing = world_standing(w, config, section, server);
			struct member_view *m = &s->members[s->n_members++];

			*m = (struct member_view){
			        .service = of ? of->label : "",
			        .rule = rule,
			        .ports = of ? of->ports : "",
			        .within = of ? of->within : NULL,
			        .waiting = of ? of->waiting : 0,
			        .target = standing.target,
			        .weight_milli = server->weight * 1000,
			        .weight_file = server->weight,
			        .max = server->max,
			        .max_file = server->max,
			        .backup = server->backup,
			        .disabled = server->disabled,
			        .usable = world_standing_usable(w, &standing, now_ms),
			        .state = "untried",
			        .check = check_text(s, config, section, server),
			};
			set_server(s, w, config, section, server, &standing, m);
			note_member(of, m->target < s->n_servers ? &s->servers[m->target] : NULL, m);
		}
	}
}
