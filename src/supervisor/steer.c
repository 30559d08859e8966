#include "supervisor/steer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "admin/commands.h"
#include "base/log.h"
#include "base/mem.h"
#include "supervisor/admin_sockets.h"
#include "supervisor/inspect.h"
#include "supervisor/meant.h"
#include "supervisor/members_steer.h"
#include "supervisor/state.h"

struct admin {
	struct supervisor *supervisor;
	struct admin_ops world;
	struct admin_client *upgrading; /* the client that has asked for it */
};

/* ---- looking, ending ---- */

static void steer_look(void *arg, bool connections, bool tcp, void (*done)(void *done_arg, struct snapshot *s),
                       void *done_arg)
{
	inspect_look(((struct admin *)arg)->supervisor, connections, tcp, done, done_arg);
}

static void kill_connections(void *arg, const struct connection_view *list, size_t n)
{
	log_info("%zu connection%s ended by tcpproxyctl", n, n == 1 ? " is" : "s are");
	steer_kill(((struct admin *)arg)->supervisor, list, n, END_KILLED);
}

static void tap(void *arg, struct admin_client *c, const struct connection_filter *filter)
{
	steer_tap(((struct admin *)arg)->supervisor, c, filter);
}

/* ---- steering ---- */

static const struct admin_state_word {
	enum admin_state value;
	const char *word;
} admin_state_words[] = {
        [ADMIN_ENABLE] = {ADMIN_STATE_ENABLED, "enabled"},
        [ADMIN_DRAIN] = {ADMIN_STATE_DRAINING, "drained: it gets no new connections"},
        [ADMIN_DISABLE] = {ADMIN_STATE_DISABLED, "disabled"},
};

static bool set_services(struct supervisor *s, const char *service, const struct admin_state_word *to)
{
	struct meant m = meant_services(s->children.workers.world, s->rules.config, service);
	bool any = m.n > 0;

	for (size_t i = 0; i < m.n; i++)
		atomic_store(&s->children.workers.world->services.list[m.list[i]].admin_state, to->value);
	meant_release(&m);
	if (any)
		log_info("tcpproxyctl: %s is %s", service, to->word);
	return any;
}

static bool set_admin_state(void *arg, const char *service, const char *what, enum admin_change change,
                            int64_t within_ms, struct buf *why)
{
	struct supervisor *s = ((struct admin *)arg)->supervisor;
	const struct admin_state_word *to = &admin_state_words[change];

	if (within_ms < 0 && !service && set_services(s, what, to))
		return true;
	if (what && steer_admin(s, service, what, to->value, within_ms, why)) {
		log_info("tcpproxyctl: %s%s%s is %s", what, service ? " of " : "", service ? service : "", to->word);
		return true;
	}
	if (within_ms < 0 && !what && set_services(s, service, to))
		return true;
	if (why->len)
		return false;
	if (within_ms >= 0)
		buf_addf(why, "\"%s\" is no server (see servers), and \"within\" is about the connections of one",
		         what ? what : service);
	else if (service && what)
		buf_addf(why, "service %s has no server \"%s\", or there is no such service (see status)", service,
		         what);
	else
		buf_addf(why,
		         "\"%s\" is neither a service, by its name or port, nor a server, by its name or as it is "
		         "spelt in "
		         "the configuration (see status)",
		         what ? what : service);
	return false;
}

static bool change(void *arg, const char *server, enum change_kind change, uint32_t n, struct buf *text)
{
	return steer_change(((struct admin *)arg)->supervisor, server, change, n, text);
}

static void add_server(void *arg, struct admin_client *c, const char *service, const char *server)
{
	steer_pool(((struct admin *)arg)->supervisor, c, members_add, service, server);
}

static void remove_server(void *arg, struct admin_client *c, const char *service, const char *server)
{
	steer_pool(((struct admin *)arg)->supervisor, c, members_remove, service, server);
}

static void forget_all(void *arg, struct buf *text)
{
	steer_forget_all(((struct admin *)arg)->supervisor, text);
}

static void changes(void *arg, struct buf *out)
{
	steer_changes(((struct admin *)arg)->supervisor, out);
}

static int is(void *arg, const char *server, enum server_is is, struct buf *text)
{
	return steer_is(((struct admin *)arg)->supervisor, server, is, text);
}

static void check(void *arg, struct admin_client *c, const char *server)
{
	steer_check(((struct admin *)arg)->supervisor, c, server);
}

/* A client that waits for the end of a steer_reload(); NULL: it has gone. */
struct reloader {
	struct admin_client *client;
};

static void reloader_left(void *arg)
{
	((struct reloader *)arg)->client = NULL;
}

static void reload_over(void *arg, bool ok, const char *text)
{
	struct reloader *r = arg;
	struct buf body = BUF_INIT;

	buf_addf(&body, "%s\n", text);
	if (r->client && ok)
		admin_answer(r->client, 0, &body);
	else if (r->client)
		admin_error(r->client, "%s", text);
	buf_release(&body);
	free(r);
}

static void steer_reload(void *arg, struct admin_client *c)
{
	struct reloader *r = mem_alloc(sizeof(*r));

	r->client = c;
	admin_on_leave(c, reloader_left, r);
	reload_begin(((struct admin *)arg)->supervisor, reload_over, r);
}

static const char *log_level(void *arg)
{
	struct admin *a = arg;

	return log_level_name((enum log_level)atomic_load(&a->supervisor->children.workers.world->log_level));
}

static bool set_log_level(void *arg, const char *name)
{
	struct admin *a = arg;
	enum log_level level;

	if (!log_level_parse(name, &level))
		return false;
	atomic_store(&a->supervisor->children.workers.world->log_level, level);
	return true;
}

static int explain(void *arg, const char *client, const char *local, char *const *more, size_t n, struct buf *out)
{
	return steer_explain(((struct admin *)arg)->supervisor, client, local, more, n, out);
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

	const char *why = "an upgrade is under way already";

	if (!a->upgrading) {
		a->upgrading = c;
		admin_on_leave(c, asker_left, a);
		why = upgrade_begin(&a->supervisor->upgrade);
		if (!why)
			return;
		a->upgrading = NULL;
	}
	admin_error(c, "%s", why);
}

void steer_upgrade_over(struct supervisor *s, bool done, const char *text)
{
	struct totals *totals = &s->children.workers.world->totals;
	struct admin_client *c = s->admin ? s->admin->upgrading : NULL;
	struct buf body = BUF_INIT;

	atomic_fetch_add(done ? &totals->upgrades : &totals->upgrades_failed, 1);
	if (!c)
		return;
	s->admin->upgrading = NULL;
	if (!done) {
		admin_error(c, "%s", text);
		return;
	}
	buf_addf(&body, "%s\n", text);
	admin_answer(c, 0, &body);
}

int steer_upgrade_client(const struct supervisor *s)
{
	return s->admin && s->admin->upgrading ? admin_client_fd(s->admin->upgrading) : -1;
}

/* ---- life ---- */

/* By its session: a member of a trio, or what it has made, and the filter of system calls lets none of these begin another one. */
static bool is_refused(void *arg, pid_t pid)
{
	struct supervisor *s = ((struct admin *)((struct admin_ops *)arg)->arg)->supervisor;
	pid_t session = pid > 0 ? getsid(pid) : 0;

	if (session < 0)
		return true; /* dead already: a client that asks lives, and waits for the answer */
	return session > 0 &&
	       (workers_have_session(&s->children.workers, session) || retire_have_session(&s->retirees, session));
}

static struct admin_ops ops_of(struct admin *a)
{
	return (struct admin_ops){
	        .arg = a,
	        .look = steer_look,
	        .kill = kill_connections,
	        .tap = tap,
	        .set_admin_state = set_admin_state,
	        .change = change,
	        .add = add_server,
	        .remove = remove_server,
	        .forget_all = forget_all,
	        .changes = changes,
	        .is = is,
	        .check = check,
	        .reload = steer_reload,
	        .upgrade = upgrade,
	        .log_level = log_level,
	        .set_log_level = set_log_level,
	        .explain = explain,
	};
}

bool steer_again(struct supervisor *s, char **words, size_t n, struct buf *why)
{
	struct admin a = {.supervisor = s};
	const struct admin_ops world = ops_of(&a);

	return admin_again(&world, words, n, why);
}

/* Whatever it was: it may have changed something. */
static void steer_request(void *arg, struct admin_client *c, char **words, size_t n)
{
	struct supervisor *s = ((struct admin *)((struct admin_ops *)arg)->arg)->supervisor;

	admin_dispatch(arg, c, words, n);
	steer_state_look(s);
}

void steer_start(struct supervisor *s)
{
	struct admin *a = mem_alloc(sizeof(*a));
	struct admin_setup setup = {.loop = &s->loop,
	                            .uid = geteuid(),
	                            .is_refused = is_refused,
	                            .request = steer_request,
	                            .arg = &a->world};

	*a = (struct admin){.supervisor = s};
	a->world = ops_of(a);
	inspect_start(s);
	steer_drain_plan(s);
	s->admin = a;
	s->admin_server = admin_server_new(&setup);
	admin_sockets_listen(&s->admin_sockets, s->admin_server);
	if (s->upgrade_client_fd >= 0) {
		a->upgrading = admin_adopt(s->admin_server, s->upgrade_client_fd);
		if (a->upgrading)
			admin_on_leave(a->upgrading, asker_left, a);
		else
			close(s->upgrade_client_fd);
		s->upgrade_client_fd = -1;
	}
}

void steer_welcome(struct supervisor *s, int fd, const struct addr *from)
{
	char who[ADDR_TEXT_MAX + 8], text[ADDR_TEXT_MAX];

	snprintf(who, sizeof(who), "page=%s", from->family == AF_UNSPEC ? "-" : addr_format_port(from, text));
	if (s->admin_server)
		admin_server_welcome(s->admin_server, fd, who);
	else
		close(fd);
}

void steer_stop(struct supervisor *s)
{
	struct admin *a = s->admin;

	if (s->admin_server)
		admin_sockets_forget(&s->admin_sockets, s->admin_server);
	admin_sockets_close(&s->files, &s->admin_sockets, NULL);
	steer_kill_stop(s);
	steer_check_stop(s);
	timer_clear(&s->loop, &s->drain_timer);
	inspect_stop(s);
	if (!a)
		return;
	admin_server_free(s->admin_server);
	s->admin_server = NULL;
	s->admin = NULL;
	free(a);
}
