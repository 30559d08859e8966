#include "supervisor/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "children/sticks.h"
#include "os/proc.h"
#include "supervisor/crowds.h"
#include "supervisor/inspect.h"
#include "supervisor/list_programs.h"
#include "supervisor/lists.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

#define IDS_APART 1000

/* ---- signals ---- */

static void supervisor_on_signal(void *arg, int sig)
{
	struct supervisor *s = arg;

	switch (sig) {
	case SIGTERM:
		restart_begin(&s->restart);
		break;
	case SIGINT:
		stop_now(s);
		break;
	case SIGQUIT:
		stop_drain(s);
		break;
	case SIGHUP:
		reload_begin(s, NULL, NULL);
		break;
	case SIGUSR1:
		logger_reopen(s->logger);
		break;
	case SIGUSR2:
		upgrade_begin(&s->upgrade);
		break;
	case SIGCHLD:
		children_reap(&s->children);
		break;
	}
}

/* ---- what follows from what the parts report ---- */

/* A new trio, which has no listeners yet. */
static void begun(void *arg, struct worker *w)
{
	struct supervisor *s = arg;

	dump_tell(&s->children.dump, w);
}

static void mute(void *arg)
{
	struct supervisor *s = arg;

	if (s->children.spawner.child.started_ms)
		spawner_child_start_late(&s->children.spawner); /* the channels are made anew for all */
}

static void imbalance(void *arg, bool busy)
{
	struct supervisor *s = arg;

	balance_asked(&s->children.balance, busy);
}

static void ejected(void *arg)
{
	struct supervisor *s = arg;

	if (s->health_looked) /* else it will soon, when all workers are ours */
		health_look(s);
}

static void moved(void *arg, uint32_t worker, uint32_t n)
{
	struct supervisor *s = arg;

	balance_done(&s->children.balance, worker, n);
}

static void adopted(void *arg)
{
	struct supervisor *s = arg;
	const struct workers *ws = &s->children.workers;

	health_look(s);
	if (s->upgrade.upgraded) {
		upgrade_taken_over(&s->upgrade);
		return;
	}
	log_info("took over %u workers %s: their connections go on", ws->n_adopted,
	         s->restart.inherited_fd >= 0 ? "of before the restart" : "whose supervisor had died");
	if (s->rules.config->workers && s->rules.config->workers != ws->n)
		log_warning("\"workers\" takes effect when all has been stopped and started: %u were taken over",
		            ws->n);
	restart_finish(&s->restart);
}

static void idle(void *arg)
{
	stop_check_idle(arg);
}

static void supervisor_gone(void *arg)
{
	stop_check_gone(arg);
}

static void supervisor_tcp_info_written(void *arg, uint32_t worker, uint64_t request)
{
	inspect_written(arg, worker, request);
}

static void page_client(void *arg, int fd, const struct addr *from)
{
	steer_welcome(arg, fd, from);
}

static void page_wants_tcp_info(void *arg)
{
	inspect_want_tcp_info(arg);
}

static void upgrade_over(void *arg, bool done, const char *text)
{
	steer_upgrade_over(arg, done, text);
}

static int upgrade_client(void *arg)
{
	return steer_upgrade_client(arg);
}

static void supervisor_stop(void *arg)
{
	stop_now(arg);
}

static void left(void *arg)
{
	struct supervisor *s = arg;

	supervisor_remove_pidfile(s);
	steer_state_end(s);
	steer_stop(s);
	page_child_stop(&s->children.page); /* the next one wants its port */
	checker_child_stop(&s->children.checker);
}

static void health_changed(void *arg, uint32_t seat, enum health_state state, enum health_state was,
                           const struct addr *at, const char *why)
{
	health_tell(arg, &(struct health_change){seat, state, was, at, why});
}

static void named(void *arg, const struct named *answer)
{
	struct supervisor *s = arg;
	struct workers *ws = &s->children.workers;

	if (names_has(ws->world, s->rules.config, answer->target) && names_write(ws->world, answer))
		workers_send(ws, &(struct wire){.type = WIRE_TARGETS}, NULL, 0);
}

/* All kinds of sources. */
static void read_sources(void *arg, const struct config *c)
{
	lists_read(arg, c);
}

static void look_after_sources(void *arg)
{
	lists_look_after(arg);
	list_programs_look_after(arg);
}

static void listed(void *arg, const char *line, const char *list)
{
	list_programs_heard(arg, line, list);
}

static void crowd(void *arg, uint64_t id, const struct member *list, size_t n)
{
	crowds_told(arg, id, list, n);
}

static const struct workers_events workers_events = {.begun = begun,
                                                     .mute = mute,
                                                     .imbalance = imbalance,
                                                     .ejected = ejected,
                                                     .moved = moved,
                                                     .adopted = adopted,
                                                     .idle = idle,
                                                     .gone = supervisor_gone,
                                                     .tcp_info_written = supervisor_tcp_info_written};
static const struct page_events page_events = {.client = page_client, .wants_tcp_info = page_wants_tcp_info};
static const struct checker_events checker_events = {
        .health = health_changed,
        .named = named,
        .crowd = crowd,
};
static const struct members_events members_events = {.read = read_sources, .look_after = look_after_sources};
static const struct upgrade_events upgrade_events = {.over = upgrade_over, .client = upgrade_client};
static const struct restart_events restart_events = {.stop = supervisor_stop, .left = left};

/* What each part is handed. */
static void put_together(struct supervisor *s)
{
	const struct supervisor_setup *setup = s->setup;

	children_none(&s->children);
	s->children.workers.loop = &s->loop;
	s->children.workers.phase = &s->phase;
	s->children.workers.rules = &s->rules;
	s->children.workers.what = setup->what;
	s->children.workers.events = &workers_events;
	s->children.workers.arg = s;
	strangers_know(&s->children.workers.strangers, &s->files.pid);
	s->children.page.sockets = &s->admin_sockets;
	s->children.page.config_path = setup->config_path;
	s->children.page.events = &page_events;
	s->children.page.arg = s;
	s->children.checker.events = &checker_events;
	s->children.checker.arg = s;
	s->children.spawner.listed = listed;
	s->children.spawner.listed_arg = s;
	s->members.events = &members_events;
	s->children.dump.path = setup->dump_path;
	s->upgrade = (struct upgrade){.children = &s->children,
	                              .files = &s->files,
	                              .network = &s->network,
	                              .admin_sockets = &s->admin_sockets,
	                              .binary = setup->binary,
	                              .argv = setup->argv,
	                              .events = &upgrade_events,
	                              .arg = s,
	                              .rolling.workers = &s->children.workers};
	s->restart = (struct restart){.children = &s->children,
	                              .phase = &s->phase,
	                              .upgrade = &s->upgrade,
	                              .listeners = &s->rules.listeners,
	                              .signal_fd = &s->signals.watch.fd,
	                              .events = &restart_events,
	                              .arg = s,
	                              .inherited_fd = setup->lifeline_fd};
	s->retirees.workers = &s->children.workers;
}

/* ---- the life ---- */

/* The numbers that all share: new ones, or those of the trios that we found. */
static int start_world(struct supervisor *s)
{
	struct workers *ws = &s->children.workers;
	const struct orphans *found = &ws->orphans;
	int rc;

	if (found->n == 0) {
		rc = world_new(&ws->world, &ws->world_fds);
		if (rc == 0 && s->retirees.first_id) /* retired workers may still number some */
			atomic_store(&ws->world->next_id, s->retirees.first_id + IDS_APART);
		return rc;
	}
	ws->world = found->world;
	ws->world_fds = (struct world_fds){found->list[0].fds[GREETING_SAID], found->list[0].fds[GREETING_WORLD]};
	for (uint32_t i = 0; i < found->n; i++)
		if (found->list[i].trio->config_generation > s->rules.generation)
			s->rules.generation = found->list[i].trio->config_generation;
	return world_succeed(ws->world, &ws->world_fds);
}

/* The world. */
static int start_knowing(struct supervisor *s)
{
	struct workers *ws = &s->children.workers;
	int rc = start_world(s);

	if (rc < 0)
		return rc;
	log_set_level_word(&ws->world->log_level);
	logger_count_lost(s->logger, &ws->world->totals.lines_lost);
	members_begin(s);
	world_take(ws->world, s->rules.config);
	sticks_adopt(ws);
	sticks_take(ws, s->rules.config);
	steer_take_file(s);
	if (ws->orphans.n == 0)
		steer_restore(s);
	steer_state_look(s);
	return rules_pack(s);
}

static int start_children(struct supervisor *s)
{
	static const int list[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, 0};
	struct children *c = &s->children;
	int rc;

	SPIN_PLANT(&s->loop, "TCPPROXY_SUPERVISOR_SPINS");
	c->workers.logger = s->logger;
	c->workers.told_number = 1;
	children_init(c);
	rc = start_knowing(s);
	if (rc < 0)
		return rc;
	c->workers.n = supervisor_workers(s);
	rc = signals_watch(&s->loop, &s->signals, list, supervisor_on_signal, s);
	spawner_child_hear_old(&c->spawner);
	if (rc == 0)
		mem_serve();
	if (rc == 0)
		dump_start(&c->dump);
	if (rc == 0)
		rc = workers_start(&c->workers);
	if (rc == 0 && c->workers.orphans.n > 0)
		spawner_child_start_late(
		        &c->spawner); /* workers that serve already need not end because there is no spawner yet */
	else if (rc == 0)
		rc = spawner_child_start(&c->spawner);
	return rc;
}

void supervisor_remove_pidfile(struct supervisor *s)
{
	int rc = s->pidfile ? files_unlink(&s->files, s->pidfile) : 0;

	if (rc < 0 && rc != -ENOENT && rc != -ENODEV) /* a device stays: /dev/null */
		log_warning("cannot remove the pidfile %s: %s", s->pidfile, files_error(-rc));
}

static void clean_up(struct supervisor *s)
{
	workers_drain(&s->children.workers);
	supervisor_remove_pidfile(s);
	steer_stop(s);
	lists_end(s);
	list_programs_end(s);
	members_end(s);
	page_child_stop(&s->children.page); /* before another one wants its port */
	checker_child_stop(&s->children.checker);
	notices_stop(&s->children.notices);
	dump_wait(&s->children.dump);
	network_stop(&s->network);
	files_stop(&s->files);
	if (s->files.pid > 0)
		waitpid(s->files.pid, NULL, 0);
}

static bool may_pass(int error)
{
	return error == EAGAIN || error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS ||
	       error == ETOOMANYREFS;
}

/* Those that were found are left as they are: the next start finds them, too; after an upgrade that is the guard's. */
static int start_has_failed(struct supervisor *s, int error)
{
	bool found = s->children.workers.orphans.n > 0 || s->retirees.n > 0;

	log_error("cannot start: %s", strerror(error));
	if (!found) {
		stop_now(s);
		loop_run(&s->loop);
		clean_up(s);
	}
	return found || may_pass(error) ? EXIT_AGAIN : EXIT_NO_START;
}

int supervisor_run(const struct supervisor_setup *setup)
{
	static struct supervisor s;
	int rc;

	s = (struct supervisor){
	        .setup = setup, .rules = {.config = setup->config, .fd = -1}, .files.fd = -1, .network = NETWORK_NONE};
	put_together(&s);
	proc_title("tcpproxy: supervisor");
	rc = supervisor_start(&s);
	if (rc != 0)
		return rc;
	log_set_sink(logger_sink, s.logger);
	if (s.identity)
		log_info("%s", s.identity);
	privileges_tell_exposed(&s);
	if (s.upgrade.upgraded || !announce_is_enough(&s))
		reload_tell_warnings(s.rules.config);
	announce_services(&s);
	rc = loop_init(&s.loop, -1, NULL, 64);
	if (rc < 0) {
		log_error("cannot start: %s", strerror(-rc));
		if (s.children.workers.orphans.n == 0 && s.retirees.n == 0)
			clean_up(&s);
		return may_pass(-rc) ? EXIT_AGAIN : EXIT_NO_START;
	}
	netadmin_hear(&s);
	rc = start_children(&s);
	if (rc < 0)
		return start_has_failed(&s, -rc);
	steer_start(&s);
	page_child_start(&s.children.page);
	checker_child_start(&s.children.checker);
	phase_set(&s.phase, PHASE_SERVING);
	notify_started(&s);
	if (s.retirees.n > 0)
		retire_begin(&s.retirees, upgrade_leave_reader(&s.upgrade) || restart_leave_reader(&s.restart));
	if (s.children.workers.orphans.n == 0) {
		health_look(&s);
		restart_finish(&s.restart);
	}
	loop_run(&s.loop);
	clean_up(&s);
	return 0;
}
