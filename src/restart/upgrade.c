#include "restart/upgrade.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "os/caps.h"
#include "os/oom.h"
#include "os/private.h"
#include "os/proc.h"
#include "restart/guard.h"
#include "restart/inherit.h"
#include "restart/rolling.h"

/* In steps:
 *
 *   1. It is tried first (trial.c). If that fails, nothing changes.
 *   2. The supervisor becomes it (exec: the same pid) and takes over the trios, exactly as after a crash: they are told
 *      beforehand that their supervisor is leaving.
 *   3. A guard, a child that still is the old program, waits meanwhile. If the new one dies or does not get ready, the
 *      guard becomes the supervisor again by the old program.
 *   4. The new supervisor lets the trios become the new program, one after the other (takeover/keeper.c).
 *
 * Downgrade is the same thing.
 */

static void failed(void *arg, const char *text)
{
	struct upgrade *u = arg;

	log_error("upgrade: %s", text);
	u->events->over(u->arg, false, text);
}

static void fail(struct upgrade *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct upgrade *u, const char *fmt, ...)
{
	struct buf text = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	failed(u, text.s);
	buf_release(&text);
}

/* ---- 2. becoming the new program ---- */

static void set_leaving(struct workers *ws, int leaving)
{
	workers_drain(ws);
	for (uint32_t i = 0; i < ws->n; i++)
		atomic_store(&ws->list[i].trio->leaving, leaving);
}

static void upgrade_become(void *arg)
{
	struct upgrade *u = arg;
	struct workers *ws = &u->children->workers;
	struct spawner_child *spawner = &u->children->spawner;
	struct guarded guarded = {.children = u->children,
	                          .files = u->files,
	                          .network = u->network,
	                          .admin_sockets = u->admin_sockets,
	                          .client_fd = u->events->client(u->arg),
	                          .argv = u->argv};
	int guard_fd = guard_start(&u->guard, &guarded);
	struct inheritance left;

	if (guard_fd < 0) {
		fail(u, "%s: nothing has changed", strerror(-guard_fd));
		return;
	}
	log_info("upgrade: becoming %s", u->binary);
	checker_child_stop(&u->children->checker); /* what comes may not know that a port may refuse */
	set_leaving(ws, 1);
	left = (struct inheritance){.files = u->files->fd,
	                            .guard = guard_fd,
	                            .lifeline = u->guard.lifeline_fd,
	                            .spawner = spawner->child.control.fd,
	                            .network = *u->network,
	                            .key = ws->key,
	                            .client = guarded.client_fd,
	                            .admin = *u->admin_sockets};
	inherit_put(&left);
	guard_stay_private();
	oom_keep_over_exec(true);
	setrlimit(RLIMIT_NOFILE, &spawner->nofile); /* as it was found */
	execv(u->binary, u->argv);
	fail(u, "cannot execute %s: %s: nothing has changed", u->binary, strerror(errno));
	set_leaving(ws, 0);
	inherit_take_back(&left);
	unsetenv(PRIVATE_VARIABLE);
	caps_after_exec();
	oom_keep_over_exec(false);
	proc_raise_nofile(NOFILE_CAP, &spawner->nofile);
	u->guard.fd = guard_fd;
	guard_release(&u->guard);
	close(u->guard.lifeline_fd);
	u->guard.lifeline_fd = -1;
	checker_child_start(&u->children->checker);
}

/* ---- 1. whether it is worth that ---- */

static const struct trial_events trial_events = {.passed = upgrade_become, .failed = failed};

const char *upgrade_begin(struct upgrade *u)
{
	const char *why = phase_ask(*u->children->workers.phase, REQUEST_UPGRADE, "upgrade");

	if (why)
		return why;
	if (u->trial.under_way || u->children->workers.rolling) {
		log_warning("upgrade: one is under way already");
		return "an upgrade is under way already";
	}
	u->trial = (struct trial){
	        .children = u->children, .binary = u->binary, .argv = u->argv, .events = &trial_events, .arg = u};
	trial_begin(&u->trial, u->files);
	return NULL;
}

void upgrade_stop(struct upgrade *u)
{
	guard_release(&u->guard);
	trial_stop(&u->trial);
}

/* ---- in the new program ---- */

void upgrade_inherit(struct upgrade *u, const struct inheritance *left)
{
	u->guard = (struct guard){.fd = left->guard, .lifeline_fd = left->lifeline};
	u->upgraded = left->upgraded;
	if (!u->upgraded)
		return;
	oom_inherit();
	u->children->workers.key = left->key;
	u->files->fd = left->files;
	*u->network = left->network;
	u->children->spawner.old_fd = left->spawner;
}

bool upgrade_was_rolled_back(const struct upgrade *u)
{
	return u->guard.fd == INHERIT_ROLLED_BACK;
}

static void done(void *arg, const char *text)
{
	struct upgrade *u = arg;

	u->events->over(u->arg, true, text);
}

void upgrade_taken_over(struct upgrade *u)
{
	if (upgrade_was_rolled_back(u))
		fail(u, "%s ended before it was ready: the old program goes on, as process %d", u->binary,
		     (int)getpid());
	if (u->guard.fd < 0)
		return;
	guard_release(&u->guard);
	rolling_begin(&u->rolling, "upgrade", done, u);
}

bool upgrade_leave_reader(struct upgrade *u)
{
	if (!guard_leave_reader(&u->guard))
		return false;
	rolling_need_not(&u->rolling, "upgrade", done, u);
	return true;
}
