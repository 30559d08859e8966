/* health.c - what servers are said to be: each change is a line of the log, and a `notify` program, for each service that has the
 * server. What they are is computed from what checks, clients, names and tcpproxyctl have found or said (ipc/server_state.h), and
 * compared with what was told last, which outlives the supervisor. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "ipc/server_state.h"
#include "program/contract.h"
#include "supervisor/state.h"

#define LOOK_MS    1000
#define LIMITED_MS 60000 /* changes of little weight: not more than one of a server in so long */
#define MESSAGE_MS \
	2000 /* what a checker has found is told by it, with its reason; if not in this time, it is found here */

/* The pool of a section, and how many of it get clients as long as there are any. */
struct pool_count {
	uint32_t up, of;
};

static bool is_up(const struct world *w, const struct section *section, const struct standing *of, int64_t now_ms)
{
	return world_standing_usable(w, of, now_ms) && !world_is_ejected(w, section, of->target, now_ms);
}

static struct pool_count count_pool(struct supervisor *s, const struct section *section)
{
	const struct world *w = s->children.workers.world;
	struct pool_count n = {.of = (uint32_t)section->n_servers};

	for (size_t i = 0; i < section->n_servers; i++)
		n.up += is_up(w, section, &standings_of(s, section)[i], s->loop.now_ms);
	return n;
}

/* ---- what is said ---- */

/* A server, wherever it has the same checks, is not what was told of it. */
struct change {
	uint32_t target, seat;
	atomic_ullong *told;
	enum server_state state, was;
	const struct addr *at; /* AF_UNSPEC: none */
	const char *why;       /* NULL: no reason */
	bool forced;           /* by tcpproxyctl */
	bool log, note;        /* who is to be told */
};

static enum log_level level_of(const struct change *change, const struct pool_count *n)
{
	if (change->state != STATE_DOWN && change->state != STATE_UNRESOLVED && change->state != STATE_EJECTED)
		return LOG_LEVEL_INFO;
	return n->up > 0 ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR;
}

static void log_change(const struct supervisor *s, const char *service, const struct server *server,
                       const struct change *change, const struct pool_count *n)
{
	bool host = change->at->family == AF_INET || change->at->family == AF_INET6;
	char address[ADDR_TEXT_MAX];

	logger_change(s->logger, level_of(change, n),
	              &(struct server_change){.service = service,
	                                      .server = server_label(server),
	                                      .address = host ? addr_format_port(change->at, address) : NULL,
	                                      .state = server_state_name(change->state),
	                                      .was = server_state_name(change->was),
	                                      .why = change->why,
	                                      .up = n->up,
	                                      .of = n->of});
}

static void note_change(struct supervisor *s, const char *service, const struct section *section,
                        const struct server *server, const struct change *change, const struct pool_count *n)
{
	const struct config *c = s->rules.config;
	const struct program_notice notice = {.server = server,
	                                      .port = service_first_port(&c->services[section->service]),
	                                      .server_port = world_check_port(c, section, server),
	                                      .at = *change->at,
	                                      .state = server_state_name(change->state),
	                                      .was = server_state_name(change->was),
	                                      .why = change->why,
	                                      .up = n->up,
	                                      .of = n->of};
	char **env = program_notice_env(section, &notice, environ);

	notices_add(&s->children.notices, &(struct notice_order){.service = service,
	                                                         .server = server_label(server),
	                                                         .argv = section->notify,
	                                                         .env = env,
	                                                         .told = change->told,
	                                                         .state = change->state});
	program_env_free(env);
}

/* True: a program is to be told. */
static bool tell_service(struct supervisor *s, const struct section *section, const struct server *server,
                         const struct change *change)
{
	const struct world *w = s->children.workers.world;
	uint32_t number = world_service(w, s->rules.config, section);
	const char *service = number < COUNTED_SERVICES ? service_label(&w->services.list[number]) : "-";
	struct pool_count n = count_pool(s, section);

	if (!section->eject.for_ms && (change->state == STATE_EJECTED || change->was == STATE_EJECTED))
		return false; /* others eject it */
	if (change->log)
		log_change(s, service, server, change, &n);
	if (change->note && section->notify)
		note_change(s, service, section, server, change, &n);
	return change->note && section->notify;
}

static atomic_ullong *told_everywhere(struct world *w, const struct standing *of)
{
	return of->seat < SEATS_MAX ? &w->seats.list[of->seat].told : &w->targets.list[of->target].told;
}

/* By what is said in one service alone. */
static bool is_forced_here(const struct world *w, const struct standing *of, uint32_t *service)
{
	struct spoken list[SPOKEN_MAX];
	size_t n = world_spoken(w, of, list), i = 0;

	while (i < n && changed_force(list[i].changed) == FORCE_NOT_SAID)
		i++;
	*service = i < n ? list[i].service : COUNTED_SERVICES;
	return *service < COUNTED_SERVICES;
}

/* Of one that is forced in this service alone, and until it was told that it is no longer, it is told here alone. NULL: there is no room
 * for that. */
static atomic_ullong *told_word(struct world *w, const struct standing *of)
{
	const uint32_t services[] = {of->service, of->whole};
	uint32_t service;

	if (atomic_load(&w->spots.n) == 0)
		return told_everywhere(w, of);
	if (is_forced_here(w, of, &service)) {
		struct spot *p = spots_add(&w->spots, service, of->target);

		if (p && atomic_load(&p->told) == 0)
			atomic_store(&p->told, atomic_load(told_everywhere(w, of)));
		return p ? &p->told : NULL;
	}
	for (int i = 0; i < 2; i++) {
		struct spot *p = (struct spot *)spots_find(&w->spots, services[i], of->target);

		if (p && atomic_load(&p->told))
			return &p->told;
	}
	return told_everywhere(w, of);
}

/* It is no longer forced here alone, and that was told: from now on it is told with the others. */
static void told_again_everywhere(struct world *w, const struct standing *of, atomic_ullong *told,
                                  const struct told_state *said)
{
	uint32_t service;

	if (told != told_everywhere(w, of) && said->noted == said->logged && !is_forced_here(w, of, &service))
		atomic_store(told, 0);
}

/* It is told by this word. */
static const struct server *find_told(struct supervisor *s, const struct section *section, const struct change *change)
{
	const struct server *server = standings_find(s, section, change->target, change->seat);

	return server && told_word(s->children.workers.world, &standings_of(s, section)[server - section->servers]) ==
	                               change->told
	               ? server
	               : NULL;
}

/* The first section of a service that has it speaks for the service. */
static bool tell_first(struct supervisor *s, const struct service *service, const struct change *change)
{
	const struct config *c = s->rules.config;
	const struct section *section = &c->sections[service->root];
	const struct server *server = find_told(s, section, change);

	for (uint32_t i = 0; i < service->n_sections && !server; i++) {
		section = &c->sections[service->first_section + i];
		server = find_told(s, section, change);
	}
	return server && tell_service(s, section, server, change);
}

/* True: a program is to be told, so that it has been when that was started. */
static bool tell_all(struct supervisor *s, const struct change *change)
{
	bool noted = false;

	for (size_t i = 0; i < s->rules.config->n_services; i++)
		noted |= tell_first(s, &s->rules.config->services[i], change);
	return noted;
}

/* ---- what is to be said ---- */

/* Told always; the others once a minute. */
static bool has_weight(enum server_state state)
{
	return state == STATE_DOWN || state == STATE_UNRESOLVED || state == STATE_EJECTED;
}

static bool is_limited(const struct supervisor *s, const struct told_state *told, enum server_state state)
{
	return !has_weight(state) && !has_weight(told->logged) && told->limited_ms &&
	       s->loop.now_ms - told->limited_ms < LIMITED_MS;
}

/* The word is written last: who dies before has it told once more. */
static void say(struct supervisor *s, struct change *change, struct told_state told)
{
	change->was = told.logged;
	change->log = change->note = true;
	if (!tell_all(s, change))
		told.noted = change->state;
	if (change->state == STATE_DOWN && !(change->forced && s->health_looked))
		server_down(s, change->target, change->seat);
	if (!has_weight(change->state) && !has_weight(told.logged))
		told.limited_ms = s->loop.now_ms;
	told.logged = change->state;
	told_state_write(change->told, told);
}

/* A supervisor before us had it logged, and has died before a program was told. */
static void note_again(struct supervisor *s, struct change *change, struct told_state told)
{
	change->was = told.noted;
	change->note = true;
	if (tell_all(s, change))
		return;
	told.noted = told.logged;
	told_state_write(change->told, told);
}

static void compare(struct supervisor *s, struct change *change)
{
	struct told_state told = told_state_read(change->told, change->seat < SEATS_MAX);

	if (change->state != told.logged) {
		if (!is_limited(s, &told, change->state))
			say(s, change, told);
	} else if (told.noted != told.logged && !s->health_looked) {
		note_again(s, change, told);
	}
}

/* ---- without a message ---- */

/* Its checker is about to tell why. */
static bool will_be_told(const struct supervisor *s, const struct standing *of)
{
	const struct child *checker = &s->children.checker.child;
	int64_t since_ms;

	if (of->seat >= SEATS_MAX || checker->control.fd < 0)
		return false;
	since_ms = health_read(&s->children.workers.world->health[of->seat], of->asks).since_ms;
	return since_ms >= checker->started_ms && s->loop.now_ms - since_ms < MESSAGE_MS;
}

/* NULL: no reason is known. words: room for HEALTH_WORDS. */
static const char *reason_of(const struct world *w, const struct standing *of, enum server_state state, char *words)
{
	if (world_force(w, of) != FORCE_AUTO)
		return "forced (tcpproxyctl)";
	switch (state) {
	case STATE_UNRESOLVED:
		return target_error_text(TARGET_NO_ADDRESS);
	case STATE_FAILED:
		return target_error_text(target_health(&w->experience[of->target]).error);
	case STATE_DOWN:
		health_words(&w->health[of->seat], words);
		return *words ? words : NULL;
	default:
		return NULL;
	}
}

/* Why it is ejected, or no longer is. */
static const char *reason_of_ejection(const struct world *w, uint32_t target, bool ejected, struct buf *out)
{
	const struct ejection *e = &w->ejections[target];
	struct ejection_view v = ejection_read(e);

	if (!ejected) {
		bool whole = v.until_ms - v.began_ms >= (int64_t)v.length_ms;

		return whole ? "its time is over" : "a check says that it is well";
	}
	ejection_say_why(e, &w->experience[target], out);
	buf_addf(out, ", for %g s", v.length_ms / 1000.0);
	return out->s;
}

/* If it has but one. */
static struct addr address_of(const struct world *w, const struct config *c, const struct section *section,
                              const struct server *server, uint32_t target)
{
	struct addr list[TARGET_ADDRS];

	if (target_addrs(&w->targets.list[target], list) != 1)
		return (struct addr){.family = AF_UNSPEC};
	list[0].port = world_check_port(c, section, server);
	return list[0];
}

/* That it is ejected, or is no longer: no checker tells that. */
static bool is_about_ejection(enum server_state state, enum server_state logged)
{
	return state == STATE_EJECTED || (logged == STATE_EJECTED && !has_weight(state));
}

static void look_at(struct supervisor *s, const struct section *section, const struct server *server)
{
	const struct standing *of = &standings_of(s, section)[server - section->servers];
	struct world *w = s->children.workers.world;
	struct told_state told;
	char words[HEALTH_WORDS];
	struct buf text = BUF_INIT;
	struct addr at;
	struct change change = {.target = of->target, .seat = of->seat, .at = &at};

	if (of->target >= TARGETS_MAX || server->kind == SERVER_PROGRAM)
		return;
	change.told = told_word(w, of);
	if (!change.told)
		return;
	change.state = server_state_now(w, of);
	change.forced = world_force(w, of) != FORCE_AUTO;
	told = told_state_read(change.told, of->seat < SEATS_MAX);
	if (change.state == told.logged)
		told_again_everywhere(w, of, change.told, &told);
	if ((s->health_looked && change.state == told.logged) ||
	    (!is_about_ejection(change.state, told.logged) && will_be_told(s, of)))
		return;
	at = address_of(w, s->rules.config, section, server, of->target);
	change.why = is_about_ejection(change.state, told.logged)
	                     ? reason_of_ejection(w, of->target, change.state == STATE_EJECTED, &text)
	                     : reason_of(w, of, change.state, words);
	compare(s, &change);
	buf_release(&text);
}

static void health_look_again(void *arg)
{
	health_look(arg);
}

void health_rules_changed(struct supervisor *s)
{
	standings_forget(s);
	timer_set(&s->loop, &s->health_timer, s->loop.now_ms + LOOK_MS, health_look_again, s);
}

/* In a second; before that, when an ejection is over. */
static int64_t next_look_ms(struct supervisor *s)
{
	const struct world *w = s->children.workers.world;
	const struct config *c = s->rules.config;
	int64_t at_ms = s->loop.now_ms + LOOK_MS;

	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers && c->sections[i].eject.for_ms; k++) {
			uint32_t target = standings_of(s, &c->sections[i])[k].target;
			int64_t until_ms = target < TARGETS_MAX ? ejection_until_ms(&w->ejections[target]) : 0;

			if (until_ms > s->loop.now_ms && until_ms < at_ms)
				at_ms = until_ms;
		}
	return at_ms;
}

void health_look(struct supervisor *s)
{
	const struct config *c = s->rules.config;
	bool any = false;

	if (s->phase == PHASE_LEAVING || s->phase == PHASE_STOPPING)
		return;
	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_servers; k++) {
			any |= c->sections[i].servers[k].kind != SERVER_PROGRAM;
			look_at(s, &c->sections[i], &c->sections[i].servers[k]);
		}
	s->health_looked = true;
	if (any)
		timer_set(&s->loop, &s->health_timer, next_look_ms(s), health_look_again, s);
}

/* ---- with one ---- */

void health_tell(struct supervisor *s, const struct health_change *message)
{
	struct world *w = s->children.workers.world;
	struct seat *seat = &w->seats.list[message->seat];
	const uint32_t target = atomic_load(&seat->target);
	struct standing of = world_standing_anywhere(w, target);
	struct change change = {.target = target,
	                        .seat = message->seat,
	                        .told = &seat->told,
	                        .at = message->at,
	                        .why = *message->why ? message->why : NULL};

	if (of.target >= TARGETS_MAX || !s->health_looked) /* a look is to come, when all workers can be told */
		return;
	of.seat = message->seat;
	of.ejects = standings_ejects(s, target);
	change.state = server_state(w, &of, message->state);
	change.forced = world_force(w, &of) != FORCE_AUTO;
	if (change.state == STATE_EJECTED)
		return; /* that is what is told: with its own reason */
	/* a server that has only an agent is up from the beginning, and that is not told */
	if (atomic_load(change.told) == 0 && message->was == HEALTH_UP)
		told_state_write(change.told, (struct told_state){.logged = STATE_UP, .noted = STATE_UP});
	compare(s, &change);
}
