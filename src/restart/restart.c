/*
 * restart.c - systemd says TERM for a stop and for a restart alike, and a restart shall cost no connection.
 *
 *   1. The supervisor puts one end of a pipe, the lifeline, into systemd's descriptor store. systemd keeps it as long
 *      as the service is to be started again, and closes it when the service is stopped. If there is no store, that
 *      is seen at once, and TERM means what it always does.
 *   2. A child, the caretaker, becomes the supervisor in the eyes of the trios, which let the next one in. Then the
 *      supervisor exits.
 *   3. The next supervisor gets the lifeline back with its start, takes over the trios as after a crash, and takes the
 *      lifeline out of the store.
 *   4. The caretaker waits for the lifeline:
 *
 *        it hangs up, trios are still ours    the service was stopped: ends everything
 *        it hangs up, no trio is              the next supervisor has them: exits
 *        WORD_END comes                       the next supervisor cannot take them over: ends everything
 *        WORD_ALONE comes                     a start has failed: exits, the trios go on by themselves
 *        WORD_READ comes                      they are retired (retire.c): reads what they say until they have ended
 *
 *      Meanwhile it reads no ring: that is the next supervisor's right, or its own again when it ends everything.
 */
#include "restart/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "os/systemd.h"
#include "restart/caretaker.h"

#define STORE_LIMIT_MS  1200 /* for systemd to say that it has it */
#define CHANGE_LIMIT_MS 2000 /* for the caretaker to be one */
#define OTHERS_LIMIT_MS 5000
#define RESTART_LOOK_MS 20

static bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}

/* ---- the supervisor goes ---- */

static void go(struct restart *r)
{
	struct pollfd p = {.events = POLLIN};
	int ready[2];
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0) {
		r->events->stop(r->arg);
		return;
	}
	log_info("leaving: the workers and their connections wait for what systemd does: a start "
	         "takes them over, a "
	         "stop ends them");
	guard_release(&r->upgrade->guard);
	workers_drain(&r->children->workers);
	pid = fork();
	if (pid == 0) {
		close(ready[0]);
		caretaker_run(&(struct caretaker){.children = r->children,
		                                  .phase = r->phase,
		                                  .listeners = r->listeners,
		                                  .admin_sockets = r->upgrade->admin_sockets,
		                                  .files = r->upgrade->files,
		                                  .network = r->upgrade->network,
		                                  .signal_fd = *r->signal_fd,
		                                  .lifeline_fd = r->upgrade->guard.lifeline_fd},
		              ready[1]);
	}
	close(ready[1]);
	if (pid < 0) {
		close(ready[0]);
		log_error("cannot leave the workers alone: %s", strerror(errno));
		r->events->stop(r->arg);
		return;
	}
	/* from here on everything is the child's */
	upgrade_stop(r->upgrade);
	p.fd = ready[0];
	poll(&p, 1, CHANGE_LIMIT_MS);
	r->events->left(r->arg);
	_exit(0);
}

/* ---- the supervisor asks ---- */

static void stop_asking(struct restart *r)
{
	int fd = r->barrier.fd;

	timer_clear(r->children->workers.loop, &r->timer);
	watch_remove(r->children->workers.loop, &r->barrier);
	close(fd);
}

static void restart_answered(void *arg, uint32_t events)
{
	struct restart *r = arg;

	stop_asking(r);
	if (*r->phase == PHASE_STOPPING)
		return;
	if (hung_up(r->upgrade->guard.lifeline_fd))
		r->events->stop(r->arg); /* this unit has no store */
	else
		go(r);
}

static void no_answer(void *arg)
{
	struct restart *r = arg;

	stop_asking(r);
	systemd_unstore(LIFELINE);
	r->events->stop(r->arg);
}

/* Returns a descriptor that hangs up when systemd has decided, or -errno. */
static int ask(struct restart *r)
{
	int ends[2], rc;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	rc = systemd_store(LIFELINE, ends[1]);
	close(ends[1]);
	if (rc == 0)
		rc = systemd_barrier();
	if (rc < 0)
		close(ends[0]);
	else
		r->upgrade->guard.lifeline_fd = ends[0];
	return rc;
}

/* The program before us, which may still be the main process for systemd, has stored one for us
 * (upgrade.c). */
static bool guard_has_asked(struct restart *r)
{
	char byte;

	if (r->upgrade->guard.lifeline_fd < 0)
		return false;
	if (read(r->upgrade->guard.lifeline_fd, &byte, 1) == 1)
		return true;
	close(r->upgrade->guard.lifeline_fd);
	r->upgrade->guard.lifeline_fd = -1;
	return false;
}

void restart_begin(struct restart *r)
{
	int fd;

	if (*r->phase != PHASE_SERVING) {
		r->events->stop(r->arg);
		return;
	}
	phase_set(r->phase, PHASE_LEAVING);
	if (guard_has_asked(r)) {
		go(r);
		return;
	}
	fd = systemd_stopping("stopping");
	if (fd == 0)
		fd = ask(r);
	if (fd < 0 || watch_add(r->children->workers.loop, &r->barrier, fd, 0, restart_answered, r) < 0)
		r->events->stop(r->arg); /* no manager looks after us */
	else
		timer_set(r->children->workers.loop, &r->timer, r->children->workers.loop->now_ms + STORE_LIMIT_MS,
		          no_answer, r);
}

/* ---- the next start ---- */

int restart_inherit(void)
{
	int fd = systemd_take_stored(LIFELINE);

	return fd < 0 ? -1 : fd;
}

static void cut(struct restart *r)
{
	systemd_unstore(LIFELINE);
	close(r->inherited_fd);
	r->inherited_fd = -1;
}

void restart_finish(struct restart *r)
{
	if (r->inherited_fd < 0)
		return;
	cut(r);
	if (r->children->workers.orphans.n > 0)
		rolling_begin(&r->upgrade->rolling, "restart", NULL,
		              NULL); /* a restart is for the libraries' sake, too */
}

bool restart_end_others(struct restart *r, const char *why)
{
	int64_t end = clock_mono_ms() + OTHERS_LIMIT_MS;
	const char word = WORD_END;

	if (r->inherited_fd < 0 || hung_up(r->inherited_fd))
		return false;
	log_warning("the workers of before %s: they are ended, and their connections with them", why);
	adopt_drop(&r->children->workers.orphans);
	if (write(r->inherited_fd, &word, 1) == 1)
		while (!hung_up(r->inherited_fd) && clock_mono_ms() < end)
			poll(NULL, 0, RESTART_LOOK_MS); /* until the caretaker has exited */
	cut(r);
	return true;
}

bool restart_leave_reader(struct restart *r)
{
	const char word = WORD_READ;

	return r->inherited_fd >= 0 && !hung_up(r->inherited_fd) && write(r->inherited_fd, &word, 1) == 1;
}

void restart_failed(int lifeline_fd)
{
	const char word = WORD_ALONE;

	if (lifeline_fd < 0 || hung_up(lifeline_fd) || write(lifeline_fd, &word, 1) < 0)
		return;
	log_error("the workers of before go on without a supervisor, by the configuration that "
	          "they had: start again "
	          "when this is mended, or end them (systemctl kill --kill-who=all -s KILL)");
}
