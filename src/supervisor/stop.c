/*
 * stop.c - the phases, and the ways to the end: at once, or with the last connection. (TERM from a manager, which may be a restart:
 * restart/restart.c.)
 */
#include <errno.h>
#include "base/log.h"
#include "os/systemd.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

#define STOP_KILL_AFTER_MS 3000 /* processes that have not ended by themselves; programs have had 2 s by then */

static void stop_kill_the_rest(void *arg)
{
	struct supervisor *s = arg;

	workers_kill(&s->children.workers);
	retire_kill(&s->retirees);
	spawner_child_kill(&s->children.spawner);
	timer_set(&s->loop, &s->stop_timer, s->loop.now_ms + 200, stop_kill_the_rest, s);
}

static void remove_socket(void *arg, const char *path)
{
	struct supervisor *s = arg;
	int rc = files_unlink(&s->files, path);

	if (rc < 0 && rc != -ENOENT)
		log_warning("cannot remove the socket %s: %s", path, files_error(-rc));
}

void stop_unlink(struct supervisor *s, const struct sockets *old, const struct sockets *kept)
{
	sockets_unlink(old, kept, remove_socket, s);
}

void stop_now(struct supervisor *s)
{
	struct wire w = {.type = WIRE_STOP};
	bool told = s->phase == PHASE_LEAVING; /* systemd, that it stops */

	if (s->phase == PHASE_STOPPING)
		return;
	children_reap(&s->children); /* those that are dead and not known to be */
	spawner_child_revive(&s->children.spawner);
	phase_set(&s->phase, PHASE_STOPPING);
	steer_state_end(s);
	upgrade_stop(&s->upgrade);
	if (!told)
		systemd_stopping("stopping");
	log_info("stopping");
	stop_unlink(s, &s->rules.listeners, NULL);
	workers_cancel(&s->children.workers);
	workers_mark_stopping(&s->children.workers);
	workers_send(&s->children.workers, &w, NULL, 0);
	retire_stop(&s->retirees);
	spawner_child_stop(&s->children.spawner);
	timer_set(&s->loop, &s->stop_timer, s->loop.now_ms + STOP_KILL_AFTER_MS, stop_kill_the_rest, s);
	page_child_stop(&s->children.page);
	checker_child_stop(&s->children.checker);
	stop_check_gone(s);
}

void stop_check_gone(struct supervisor *s)
{
	if (s->phase == PHASE_STOPPING && s->children.spawner.child.pid <= 0 && workers_gone(&s->children.workers) &&
	    retire_gone(&s->retirees))
		s->loop.stop = true;
}

static void patience_is_over(void *arg)
{
	struct supervisor *s = arg;

	log_warning("stop-timeout: ending the connections that are left");
	stop_now(s);
}

void stop_drain(struct supervisor *s)
{
	struct wire w = {.type = WIRE_QUIT};

	if (phase_ask(s->phase, REQUEST_DRAIN, "graceful stop"))
		return;
	phase_set(&s->phase, PHASE_DRAINING);
	systemd_status("graceful stop: waiting for the connections to end");
	log_info("graceful stop: no new connections, waiting for the old ones to end");
	workers_send(&s->children.workers, &w, NULL, 0);
	stop_unlink(s, &s->rules.listeners, NULL);
	sockets_close(&s->rules.listeners, NULL);
	checker_child_drain(&s->children.checker);
	if (s->rules.config->stop_timeout_ms)
		timer_set(&s->loop, &s->stop_timer, s->loop.now_ms + s->rules.config->stop_timeout_ms, patience_is_over,
		          s);
	workers_cancel(&s->children.workers);
	stop_check_idle(s);
}

void stop_check_idle(struct supervisor *s)
{
	bool all = s->phase == PHASE_DRAINING && retire_gone(&s->retirees);

	for (uint32_t i = 0; i < s->children.workers.n; i++)
		all = all && s->children.workers.list[i].idle;
	if (all)
		stop_now(s);
}
