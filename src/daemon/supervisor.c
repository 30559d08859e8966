#include "daemon/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "daemon/leave.h"
#include "os/proc.h"
#include "os/systemd.h"

#define EXIT_NO_START  2
#define KILL_AFTER_MS  3000 /* whoever has not ended by itself; programs have had 2 s by then */
#define RESPAWN_MS     500
#define REAP_AGAIN_MS  50
#define IDS_APART      1000

static void reap(struct supervisor *s);

/* ---- stopping ---- */

static void kill_the_rest(void *arg)
{
	struct supervisor *s = arg;

	crews_kill(s);
	retire_kill(s);
	if (s->spawner_pid > 0)
		kill(s->spawner_pid, SIGKILL);
	timer_set(&s->loop, &s->stop_timer, s->loop.now_ms + 200, kill_the_rest, s);
}

void supervisor_stop(struct supervisor *s)
{
	struct wire w = {.type = WIRE_STOP};

	if (s->stopping)
		return;
	reap(s); /* a spawner that has died and is not known to be dead */
	s->stopping = true;
	upgrade_release_guard(s);
	trial_stop(s);
	if (!s->leaving) /* or it has been told already */
		systemd_stopping("stopping");
	log_info("stopping");
	if (s->spawner_started_ms && s->spawner_pid <= 0)
		spawner_start(s); /* it has just died: another one is to end its programs */
	for (uint32_t i = 0; i < s->n_crews; i++)
		atomic_store(&s->crews[i].trio->stopping, 1);
	crews_send(s, &w, NULL, 0);
	retire_stop(s);
	if (s->spawner_control.fd >= 0)
		sock_send_message(s->spawner_control.fd, &w, sizeof(w), NULL, 0);
	timer_clear(&s->loop, &s->spawner_timer);
	timer_set(&s->loop, &s->stop_timer, s->loop.now_ms + KILL_AFTER_MS, kill_the_rest, s);
	page_stop(s);
	supervisor_check_stopped(s);
}

void supervisor_check_stopped(struct supervisor *s)
{
	if (s->stopping && s->spawner_pid <= 0 && crews_gone(s) && retire_gone(s))
		s->loop.stop = true;
}

static void patience_is_over(void *arg)
{
	struct supervisor *s = arg;

	log_warning("stop-timeout: ending the connections that are left");
	supervisor_stop(s);
}

static void quit(struct supervisor *s)
{
	struct wire w = {.type = WIRE_QUIT};

	if (s->quitting || s->stopping || s->leaving)
		return;
	s->quitting = true;
	systemd_status("graceful stop: waiting for the connections to end");
	log_info("graceful stop: no new connections, waiting for the old ones to end");
	crews_send(s, &w, NULL, 0);
	sockets_close(&s->sockets, NULL);
	if (s->config->stop_timeout_ms)
		timer_set(&s->loop, &s->stop_timer, s->loop.now_ms + s->config->stop_timeout_ms,
			  patience_is_over, s);
}

void supervisor_check_idle(struct supervisor *s)
{
	bool all = s->quitting && retire_gone(s);

	for (uint32_t i = 0; i < s->n_crews; i++)
		all = all && s->crews[i].idle;
	if (all)
		supervisor_stop(s);
}

/* ---- children ---- */

static void start_spawner_again(void *arg)
{
	struct supervisor *s = arg;

	if (spawner_start(s) < 0)
		timer_set(&s->loop, &s->spawner_timer, s->loop.now_ms + RESPAWN_MS,
			  start_spawner_again, s);
}

static void spawner_died(struct supervisor *s, int status)
{
	int64_t wait_until = s->spawner_started_ms + RESPAWN_MS;

	s->spawner_pid = 0;
	spawner_lost(s);
	if (s->stopping) {
		supervisor_check_stopped(s);
		return;
	}
	if (WIFSIGNALED(status))
		log_error("the spawner was killed by signal %d and is replaced", WTERMSIG(status));
	else
		log_error("the spawner has ended and is replaced");
	if (wait_until > s->loop.now_ms)
		timer_set(&s->loop, &s->spawner_timer, wait_until, start_spawner_again, s);
	else
		start_spawner_again(s);
}

static void reap_again(void *arg)
{
	reap(arg);
}

/* Our own children, and those of the dead that fell to us. The trial of an upgrade is reaped by who runs it. */
static void reap(struct supervisor *s)
{
	for (;;) {
		siginfo_t info = {.si_pid = 0};
		int status;

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return;
		if (s->checking && info.si_pid == s->check.process.pid) {
			timer_set(&s->loop, &s->reap_timer, s->loop.now_ms + REAP_AGAIN_MS, reap_again,
				  s);
			return;
		}
		if (waitpid(info.si_pid, &status, WNOHANG) != info.si_pid)
			continue;
		if (info.si_pid == s->spawner_pid)
			spawner_died(s, status);
		else if (info.si_pid == s->dump.pid)
			dump_lost(s);
		else if (info.si_pid == s->page.pid)
			page_died(s, status);
	}
}

/* ---- signals ---- */

static void on_signal(void *arg, int sig)
{
	struct supervisor *s = arg;

	switch (sig) {
	case SIGTERM:
		supervisor_leave(s);
		break;
	case SIGINT:
		supervisor_stop(s);
		break;
	case SIGQUIT:
		quit(s);
		break;
	case SIGHUP:
		if (s->quitting || s->stopping)
			break;
		supervisor_reload(s, NULL);
		break;
	case SIGUSR1:
		logger_reopen(s->logger);
		break;
	case SIGUSR2:
		if (!s->quitting && !s->stopping && !s->leaving)
			supervisor_upgrade(s);
		break;
	case SIGCHLD:
		reap(s);
		break;
	}
}

/* ---- the names of servers ---- */

static void names_changed(void *arg)
{
	struct supervisor *s = arg;

	crews_send(s, &(struct wire){.type = WIRE_TARGETS}, NULL, 0);
}

/* ---- what it says when it begins ---- */

static void describe_pool(const struct section *section, struct buf *out)
{
	for (size_t i = 0; i < section->n_servers; i++)
		buf_addf(out, "%s%s", i ? ", " : "", section->servers[i].key);
}

static void say_section(const struct service *service, const struct section *section)
{
	struct buf line = BUF_INIT;
	char net[ADDR_TEXT_MAX];

	buf_adds(&line, service->n_ports > 1 || service->ports[0].first != service->ports[0].last
				? "listening on ports"
				: "listening on port");
	for (size_t i = 0; i < service->n_ports; i++) {
		buf_addf(&line, " %u", service->ports[i].first);
		if (service->ports[i].last != service->ports[i].first)
			buf_addf(&line, "-%u", service->ports[i].last);
	}
	if (section->kind == INTERFACE_NONE)
		buf_adds(&line, " on every address");
	else
		buf_addf(&line, " on %s",
			 section->kind == INTERFACE_NAME ? section->name
							 : cidr_format(&section->net, net));
	buf_adds(&line, ", leading to ");
	describe_pool(section, &line);
	log_info("%s", line.s);
	buf_release(&line);
}

static void say_services(const struct config *c)
{
	for (size_t i = 0; i < c->n_services; i++) {
		const struct service *service = &c->services[i];

		if (c->sections[service->root].n_servers > 0 && service->wildcard)
			say_section(service, &c->sections[service->root]);
		for (uint32_t k = 0; k < service->n_sections; k++)
			say_section(service, &c->sections[service->first_section + k]);
	}
}

/* ---- the life ---- */

/* The numbers that all share: new ones, or those of the trios that we found. */
static int start_world(struct supervisor *s)
{
	if (s->orphans.n == 0) {
		s->world_fd = world_new(&s->world);
		if (s->world_fd < 0)
			return s->world_fd;
		if (s->first_id) /* retired workers may still number some */
			atomic_store(&s->world->next_id, s->first_id + IDS_APART);
		return 0;
	}
	s->world = s->orphans.world;
	s->world_fd = s->orphans.list[0].fds[GREETING_WORLD];
	for (uint32_t i = 0; i < s->orphans.n; i++)
		if (s->orphans.list[i].trio->config_generation > s->generation)
			s->generation = s->orphans.list[i].trio->config_generation;
	return 0;
}

static int start_children(struct supervisor *s)
{
	static const int list[] = {SIGTERM, SIGINT,  SIGQUIT, SIGHUP,
				   SIGUSR1, SIGUSR2, SIGCHLD, 0};
	int rc = start_world(s);

	if (rc == 0)
		rc = loop_init(&s->loop, -1, NULL, 64);
	if (rc < 0)
		return rc;
	log_set_level_word(&s->world->log_level);
	logger_count_lost(s->logger, &s->world->deeds.lines_lost);
	s->stderrs = stderrs_new(&s->loop);
	rc = names_new(&s->loop, &s->world->targets, names_changed, s, &s->names);
	if (rc == 0)
		rc = names_set_config(s->names, s->config);
	if (rc == 0)
		rc = supervisor_pack_rules(s);
	if (rc == 0)
		rc = signals_watch(&s->loop, &s->signals, list, on_signal, s);
	s->n_crews = supervisor_workers(s);
	s->renewing = s->n_crews; /* none */
	balance_init(&s->balance, s);
	spawner_hear_old(s);
	if (rc == 0)
		dump_start(s);
	if (rc == 0)
		rc = crews_start(s);
	if (rc == 0)
		rc = spawner_start(s);
	return rc;
}

void supervisor_remove_pidfile(struct supervisor *s)
{
	int rc = s->pidfile ? files_unlink(&s->files, s->pidfile) : 0;

	if (rc < 0 && rc != -ENOENT)
		log_warning("cannot remove the pidfile %s: %s", s->pidfile, strerror(-rc));
}

static void clean_up(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_crews; i++)
		crew_drain(&s->crews[i]);
	supervisor_remove_pidfile(s);
	admin_stop(s);
	page_stop(s); /* before another one wants its port */
	dump_wait(s);
	files_stop(&s->files);
	if (s->files.pid > 0)
		waitpid(s->files.pid, NULL, 0);
}

int supervisor_run(const struct supervisor_setup *setup)
{
	static struct supervisor s;
	int rc;

	s = (struct supervisor){.setup = setup, .config = setup->config, .rules_fd = -1};
	s.files.fd = -1;
	s.spawner_control.fd = -1;
	s.page.control.fd = -1;
	s.lifeline_fd = -1;
	s.inherited_fd = setup->lifeline_fd;
	proc_title("tcpproxy: supervisor");
	rc = supervisor_start(&s);
	if (rc != 0)
		return rc;
	log_set_sink(logger_sink, s.logger);
	if (s.identity)
		log_info("%s", s.identity);
	say_services(s.config);
	rc = start_children(&s);
	if (rc < 0) {
		log_error("cannot start: %s", strerror(-rc));
		rc = EXIT_NO_START;
		supervisor_stop(&s);
	} else {
		admin_start(&s);
		page_start(&s);
		supervisor_ready(&s);
		if (s.retirees.n > 0)
			retire_begin(&s, upgrade_leave_reader(&s) || leave_reader(&s));
		if (s.orphans.n == 0)
			leave_over(&s);
	}
	loop_run(&s.loop);
	clean_up(&s);
	return rc;
}
