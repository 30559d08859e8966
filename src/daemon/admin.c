#include "daemon/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "admin/commands.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "config/explain.h"
#include "daemon/supervisor.h"
#include "daemon/survey.h"

#define FACTS_WAIT_MS 300 /* a worker that is just being replaced does not answer */
#define KILL_AGAIN_MS 20
#define KILL_WAIT_MS  2000 /* nothing is on its way between two workers for so long */

/* Somebody who wants a snapshot. */
struct look {
	struct admin *admin;
	struct look *next;
	uint64_t request; /* of WIRE_FACTS */
	struct timer timer;
	bool connections;
	void (*done)(void *arg, struct snapshot *s);
	void *arg;
};

/* Connections that are to end, wherever they are by now. */
struct killing {
	struct admin *admin;
	struct killing *next;
	struct timer timer;
	int64_t until_ms;
	size_t n;
	uint64_t *ids; /* in order */
};

struct admin {
	struct supervisor *supervisor;
	struct admin_world world;
	struct admin_server *server;
	struct survey *survey;
	struct look *looks; /* that wait for workers */
	struct killing *killings;
	uint64_t requests;
	uint64_t *answered;             /* by each worker */
	struct admin_client *upgrading; /* whoever has asked for it */
};

/* ---- snapshots ---- */

static struct snapshot *take_snapshot(struct admin *a, bool connections)
{
	struct supervisor *s = a->supervisor;
	struct snapshot *shot = survey_take(a->survey, s->config, s->generation, connections);

	shot->pid = getpid();
	shot->config_path = s->setup->config_path;
	shot->log_level = log_level_name((enum log_level)atomic_load(&s->world->log_level));
	shot->stopping = s->quitting || s->stopping;
	return shot;
}

/* All that have a worker have answered; the others are not waited for. */
static bool all_answered(const struct admin *a, uint64_t request)
{
	for (uint32_t i = 0; i < a->supervisor->n_crews; i++)
		if (a->supervisor->crews[i].control.fd >= 0 && a->answered[i] < request)
			return false;
	return true;
}

static void finish_look(struct look *look)
{
	struct admin *a = look->admin;
	struct look **at = &a->looks;

	while (*at && *at != look)
		at = &(*at)->next;
	if (*at)
		*at = look->next;
	timer_clear(&a->supervisor->loop, &look->timer);
	look->done(look->arg, take_snapshot(a, look->connections));
	free(look);
}

static void waited_enough(void *arg)
{
	finish_look(arg);
}

static void look(void *arg, bool connections, bool tcp,
                 void (*done)(void *done_arg, struct snapshot *s), void *done_arg)
{
	struct admin *a = arg;
	struct supervisor *s = a->supervisor;
	struct look *l;

	if (!tcp) {
		done(done_arg, take_snapshot(a, connections));
		return;
	}
	l = mem_alloc(sizeof(*l));
	*l = (struct look){.admin = a,
	                   .next = a->looks,
	                   .request = ++a->requests,
	                   .connections = connections,
	                   .done = done,
	                   .arg = done_arg};
	a->looks = l;
	timer_set(&s->loop, &l->timer, s->loop.now_ms + FACTS_WAIT_MS, waited_enough, l);
	crews_send(s, &(struct wire){.type = WIRE_FACTS, .generation = l->request}, NULL, 0);
}

void admin_ask_workers(struct supervisor *s, void (*done)(void *arg, struct snapshot *shot),
                       void *arg)
{
	look(s->admin, false, true, done, arg);
}

void admin_facts_written(struct supervisor *s, uint32_t worker, uint64_t request)
{
	struct admin *a = s->admin;

	if (!a)
		return;
	if (request > a->answered[worker])
		a->answered[worker] = request;
	for (struct look *l = a->looks, *next; l; l = next) {
		next = l->next;
		if (all_answered(a, l->request))
			finish_look(l);
	}
}

/* ---- steering ---- */

static void send_kills(struct supervisor *s, const struct connection_view *list, size_t n)
{
	for (uint32_t worker = 0; worker < s->n_crews; worker++) {
		struct wire w = {.type = WIRE_KILL};

		for (size_t i = 0; i < n; i++) {
			if (list[i].worker != worker)
				continue;
			w.ids[w.n++] = list[i].row;
			w.ids[w.n++] = list[i].serial;
			if (w.n == SOCK_MAX_FDS) {
				crew_send(&s->crews[worker], &w, NULL, 0);
				w.n = 0;
			}
		}
		if (w.n > 0)
			crew_send(&s->crews[worker], &w, NULL, 0);
	}
}

static void killing_free(struct killing *k)
{
	struct killing **at = &k->admin->killings;

	while (*at && *at != k)
		at = &(*at)->next;
	if (*at)
		*at = k->next;
	timer_clear(&k->admin->supervisor->loop, &k->timer);
	free(k->ids);
	free(k);
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* One that has gone to another worker meanwhile was not met where it was seen. */
static void kill_the_rest(void *arg)
{
	struct killing *k = arg;
	struct loop *l = &k->admin->supervisor->loop;
	struct snapshot *shot = take_snapshot(k->admin, true);
	size_t n = 0;

	for (size_t i = 0; i < shot->n_connections; i++)
		if (bsearch(&shot->connections[i].id, k->ids, k->n, sizeof(*k->ids), compare_ids))
			shot->connections[n++] = shot->connections[i];
	send_kills(k->admin->supervisor, shot->connections, n);
	snapshot_free(shot);
	if (n == 0 || l->now_ms >= k->until_ms)
		killing_free(k);
	else
		timer_set(l, &k->timer, l->now_ms + KILL_AGAIN_MS, kill_the_rest, k);
}

static void kill_connections(void *arg, const struct connection_view *list, size_t n)
{
	struct admin *a = arg;
	struct loop *l = &a->supervisor->loop;
	struct killing *k = mem_alloc(sizeof(*k));

	send_kills(a->supervisor, list, n);
	log_info("%zu connection%s ended by tcpproxyctl", n, n == 1 ? " is" : "s are");
	*k = (struct killing){.admin = a,
	                      .next = a->killings,
	                      .until_ms = l->now_ms + KILL_WAIT_MS,
	                      .n = n,
	                      .ids = mem_alloc(n * sizeof(*k->ids))};
	for (size_t i = 0; i < n; i++)
		k->ids[i] = list[i].id;
	qsort(k->ids, n, sizeof(*k->ids), compare_ids);
	a->killings = k;
	timer_set(l, &k->timer, l->now_ms + KILL_AGAIN_MS, kill_the_rest, k);
}

/* Of a service by its port (any of a range), or of a server by its spelling. NULL: there is none.
 */
static atomic_uint *standing_of(struct supervisor *s, const char *what)
{
	uint64_t port;
	uint32_t i;

	if (text_parse_uint(what, 65535, &port)) {
		for (size_t k = 0; k < s->config->n_services; k++) {
			const struct service *service = &s->config->services[k];

			for (size_t r = 0; r < service->n_ports; r++)
				if (service->ports[r].first <= port &&
				    port <= service->ports[r].last) {
					i = services_find(&s->world->services,
					                  service->ports[0].first);
					return i < COUNTED_SERVICES
					           ? &s->world->services.list[i].standing
					           : NULL;
				}
		}
		return NULL;
	}
	i = targets_find(&s->world->targets, what);
	return i < TARGETS_MAX ? &s->world->targets.list[i].standing : NULL;
}

static bool set_standing(void *arg, const char *what, enum admin_standing standing)
{
	static const struct {
		enum standing value;
		const char *word;
	} list[] = {
	    [ADMIN_ENABLE] = {STANDING_ENABLED, "enabled"},
	    [ADMIN_DRAIN] = {STANDING_DRAINING, "drained: it gets no new connections"},
	    [ADMIN_DISABLE] = {STANDING_DISABLED, "disabled"},
	};
	struct admin *a = arg;
	atomic_uint *word = standing_of(a->supervisor, what);

	if (!word)
		return false;
	atomic_store(word, list[standing].value);
	log_info("tcpproxyctl: %s is %s", what, list[standing].word);
	return true;
}

static bool reload(void *arg, struct buf *text)
{
	return supervisor_reload(((struct admin *)arg)->supervisor, text);
}

static const char *log_level(void *arg)
{
	struct admin *a = arg;

	return log_level_name((enum log_level)atomic_load(&a->supervisor->world->log_level));
}

static bool set_log_level(void *arg, const char *name)
{
	struct admin *a = arg;
	enum log_level level;

	if (!log_level_parse(name, &level))
		return false;
	atomic_store(&a->supervisor->world->log_level, level);
	return true;
}

static void tap(void *arg, struct admin_client *c, const struct connection_filter *filter)
{
	admin_tap(((struct admin *)arg)->supervisor, c, filter);
}

/* ---- explain ---- */

static const char *why_server_is_out(void *arg, const struct server *server)
{
	struct supervisor *s = arg;
	uint32_t i = targets_find(&s->world->targets, server->key);
	const struct target *t = i < TARGETS_MAX ? &s->world->targets.list[i] : NULL;

	if (!t || !standing_is_out(&t->standing, server->disabled))
		return t && atomic_load(&t->state) == TARGET_UNRESOLVED
		           ? "a name that does not resolve"
		           : NULL;
	return atomic_load(&t->standing) == STANDING_DRAINING   ? "drained (tcpproxyctl)"
	       : atomic_load(&t->standing) == STANDING_DISABLED ? "disabled (tcpproxyctl)"
	                                                        : "disabled";
}

static bool service_is_closed(struct supervisor *s, uint16_t port)
{
	char text[8];
	atomic_uint *word;

	snprintf(text, sizeof(text), "%u", port);
	word = standing_of(s, text);
	return word && standing_is_out(word, false);
}

static int explain(void *arg, const char *client, const char *local, struct buf *out)
{
	struct supervisor *s = ((struct admin *)arg)->supervisor;
	struct explain q = {
	    .ifs = s->ifs, .n_ifs = s->n_ifs, .why_out = why_server_is_out, .arg = s};

	if (!explain_words(client, local, s->setup->world, &q, out))
		return -1;
	if (service_is_closed(s, q.local.port)) {
		buf_addf(out, "access: denied: service %u is disabled or drained (tcpproxyctl)\n",
		         q.local.port);
		return EXPLAIN_DENIED;
	}
	return config_explain(s->config, &q, out);
}

/* ---- upgrade ---- */

static void asker_left(void *arg)
{
	struct admin *a = arg;

	a->upgrading = NULL;
}

static void upgrade(void *arg, struct admin_client *c)
{
	struct admin *a = arg;

	if (!a->upgrading) {
		a->upgrading = c;
		admin_on_leave(c, asker_left, a);
		if (supervisor_upgrade(a->supervisor))
			return;
		a->upgrading = NULL;
	}
	admin_error(c, "an upgrade is under way already");
}

void admin_upgrade_over(struct supervisor *s, bool done, const char *text)
{
	struct admin *a = s->admin;
	struct admin_client *c = a ? a->upgrading : NULL;
	struct buf body = BUF_INIT;

	if (s->upgrade_told)
		return;
	s->upgrade_told = true;
	atomic_fetch_add(done ? &s->world->deeds.upgrades : &s->world->deeds.upgrades_failed, 1);
	if (!c)
		return;
	a->upgrading = NULL;
	if (!done) {
		admin_error(c, "%s", text);
		return;
	}
	buf_addf(&body, "%s\n", text);
	admin_answer(c, 0, &body);
}

/* ---- life ---- */

int admin_upgrade_client(const struct supervisor *s)
{
	return s->admin && s->admin->upgrading ? admin_client_fd(s->admin->upgrading) : -1;
}

static void listen_again(struct admin *a)
{
	for (size_t i = 0; i < a->supervisor->admin_sockets.n; i++) {
		struct admin_socket *socket = &a->supervisor->admin_sockets.list[i];
		int rc = socket->page ? 0 : admin_server_listen(a->server, socket->fd);

		if (rc < 0)
			log_error("the admin socket %s: %s", socket->path, strerror(-rc));
	}
}

void admin_start(struct supervisor *s)
{
	struct survey_source source = {.world = s->world, .trios = s->trios, .n_trios = s->n_crews};
	struct admin *a = mem_alloc(sizeof(*a));
	struct admin_setup setup = {
	    .loop = &s->loop, .uid = geteuid(), .request = admin_obey, .arg = &a->world};

	a->supervisor = s;
	a->world = (struct admin_world){
	    .arg = a,
	    .look = look,
	    .kill = kill_connections,
	    .tap = tap,
	    .set_standing = set_standing,
	    .reload = reload,
	    .upgrade = upgrade,
	    .log_level = log_level,
	    .set_log_level = set_log_level,
	    .explain = explain,
	};
	a->survey = survey_new(&source);
	a->answered = mem_alloc(s->n_crews * sizeof(*a->answered) + 1);
	a->server = admin_server_new(&setup);
	s->admin = a;
	listen_again(a);
	if (s->upgrade_client_fd >= 0) {
		a->upgrading = admin_adopt(a->server, s->upgrade_client_fd);
		if (a->upgrading)
			admin_on_leave(a->upgrading, asker_left, a);
		else
			close(s->upgrade_client_fd);
		s->upgrade_client_fd = -1;
	}
}

void admin_welcome(struct supervisor *s, int fd)
{
	if (s->admin)
		admin_server_welcome(s->admin->server, fd);
	else
		close(fd);
}

void admin_want_facts(struct supervisor *s)
{
	if (s->admin)
		crews_send(s, &(struct wire){.type = WIRE_FACTS, .generation = ++s->admin->requests}, NULL, 0);
}

void admin_change_sockets(struct supervisor *s, struct admin_sockets *next)
{
	struct admin_sockets before = s->admin_sockets;

	for (size_t i = 0; s->admin && i < before.n; i++)
		admin_server_forget(s->admin->server, before.list[i].fd);
	s->admin_sockets = *next;
	admin_sockets_close(s, &before, next);
	if (s->admin)
		listen_again(s->admin);
}

void admin_stop(struct supervisor *s)
{
	struct admin *a = s->admin;

	for (size_t i = 0; a && i < s->admin_sockets.n; i++)
		admin_server_forget(a->server, s->admin_sockets.list[i].fd);
	admin_sockets_close(s, &s->admin_sockets, NULL);
	if (!a)
		return;
	while (a->looks)
		finish_look(a->looks);
	while (a->killings)
		killing_free(a->killings);
	s->admin = NULL;
	admin_server_free(a->server);
	survey_free(a->survey);
	free(a->answered);
	free(a);
}
