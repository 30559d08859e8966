/*
 * leave.c - systemd says TERM for a stop and for a restart alike, and a restart shall cost no connection.
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
#include "daemon/leave.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "daemon/supervisor.h"
#include "os/proc.h"
#include "os/systemd.h"

#define STORE_LIMIT_MS  1200 /* for systemd to say that it has it */
#define ADOPT_LIMIT_MS  1000 /* for the trios to know the caretaker */
#define CHANGE_LIMIT_MS 2000 /* for the caretaker to be one */
#define KILL_AFTER_MS   3000
#define GONE_AFTER_MS   300 /* what was killed */
#define OTHERS_LIMIT_MS 5000
#define LOOK_MS         20

enum word { WORD_END = 'e', WORD_ALONE = 'a', WORD_READ = 'r' };

static bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}

/* ---- the caretaker: whose trios are these ---- */

/* What a worker says; false: it says nothing more. */
static bool hear(struct crew *c)
{
	struct wire w;
	int len;

	if (c->control.fd < 0)
		return false;
	while ((len = sock_recv_message(c->control.fd, &w, sizeof(w), NULL, NULL)) > 0)
		if (len == sizeof(w) && w.type == WIRE_ADOPTED) {
			c->adopted = true;
			c->adoption = atomic_load(&c->trio->supervisor_serial);
		}
	if (len == -EAGAIN || len == -EINTR)
		return true;
	close(c->control.fd);
	c->control.fd = -1;
	return false;
}

static bool is_ours(struct crew *c)
{
	return hear(c) && c->adoption == atomic_load(&c->trio->supervisor_serial);
}

/* Those that the next supervisor has, or that are dead, are forgotten. */
static bool any_is_ours(struct supervisor *s)
{
	bool any = false;

	for (uint32_t i = 0; i < s->n_crews; i++) {
		struct crew *c = &s->crews[i];

		if (is_ours(c)) {
			any = true;
		} else if (c->control.fd >= 0) {
			close(c->control.fd);
			c->control.fd = -1;
		}
	}
	return any;
}

static void wait_a_moment(struct supervisor *s)
{
	struct pollfd p[WORLD_WORKERS + 1];
	nfds_t n = 0;

	p[n++] = (struct pollfd){.fd = s->spawner_control.fd, .events = POLLIN};
	for (uint32_t i = 0; i < s->n_crews; i++)
		p[n++] = (struct pollfd){.fd = s->crews[i].control.fd, .events = POLLIN};
	poll(p, n, LOOK_MS);
}

/* We are the one whose death they watch, and who lets the next one in. */
static void be_known(struct supervisor *s)
{
	struct wire w = {.type = WIRE_ADOPT, .n = 1};
	int pidfd = proc_pidfd(getpid());
	int64_t end = clock_mono_ms() + ADOPT_LIMIT_MS;
	bool all = false;

	for (uint32_t i = 0; i < s->n_crews; i++) {
		s->crews[i].adopted = false;
		s->crews[i].adoption = atomic_load(&s->crews[i].trio->supervisor_serial);
	}
	crews_send(s, &w, &pidfd, pidfd < 0 ? 0 : 1);
	while (!all && clock_mono_ms() < end) {
		wait_a_moment(s);
		all = true;
		for (uint32_t i = 0; i < s->n_crews; i++)
			all = all && (!hear(&s->crews[i]) || s->crews[i].adopted);
	}
	close(pidfd);
}

/* ---- the caretaker: it was a stop ---- */

/* Its descriptors are closed, too: whoever comes can have its ports. */
static bool has_ended(const struct crew *c)
{
	bool ended = true;

	for (int m = 0; m < MEMBERS && ended; m++) {
		int fd = c->trio->pid[m] > 0 ? proc_pidfd(c->trio->pid[m]) : -1;

		ended = fd < 0 || proc_pidfd_dead(fd);
		if (fd >= 0)
			close(fd);
	}
	return ended;
}

static bool all_gone(struct supervisor *s)
{
	bool gone = s->spawner_control.fd < 0 || !spawner_hear(s);

	for (uint32_t i = 0; i < s->n_crews; i++) {
		struct crew *c = &s->crews[i];

		if (!c->ending)
			continue;
		if (hear(c) || !has_ended(c))
			gone = false;
		crew_drain(c);
	}
	return gone;
}

static bool wait_until_gone(struct supervisor *s, int64_t limit_ms)
{
	int64_t end = clock_mono_ms() + limit_ms;

	while (!all_gone(s)) {
		if (clock_mono_ms() >= end)
			return false;
		wait_a_moment(s);
	}
	return true;
}

static void end_everything(struct supervisor *s)
{
	struct wire w = {.type = WIRE_STOP};

	if (!any_is_ours(s))
		return;
	log_info("stopping");
	s->stopping = true;
	for (uint32_t i = 0; i < s->n_crews; i++) {
		s->crews[i].ending = s->crews[i].control.fd >= 0;
		if (s->crews[i].ending)
			atomic_store(&s->crews[i].trio->stopping, 1);
	}
	crews_send(s, &w, NULL, 0);
	if (s->spawner_control.fd >= 0)
		sock_send_message(s->spawner_control.fd, &w, sizeof(w), NULL, 0);
	if (wait_until_gone(s, KILL_AFTER_MS))
		return;
	crews_kill(s);
	if (s->spawner_control.fd >= 0 && s->spawner_pid > 0)
		kill(s->spawner_pid, SIGKILL);
	wait_until_gone(s, GONE_AFTER_MS);
}

/* ---- the caretaker: waiting ---- */

/* Signals are blocked and come through the supervisor's descriptor; only those that stop it mean
 * anything here. */
static bool told_to_stop(int signal_fd)
{
	struct signalfd_siginfo info;
	bool stop = false;

	while (read(signal_fd, &info, sizeof(info)) == sizeof(info))
		stop = stop || info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
	return stop;
}

/* Until it is clear what becomes of the trios. true: those that are still ours are to end. */
static bool wait_for_word(struct supervisor *s)
{
	struct pollfd p[3] = {{.fd = s->lifeline_fd, .events = POLLIN},
			      {.fd = s->signals.watch.fd, .events = POLLIN},
			      {.events = POLLIN}};

	for (;;) {
		char word = WORD_END; /* what a hang-up means */

		p[2].fd = s->spawner_control.fd;
		poll(p, 3, -1);
		if (p[2].revents && !spawner_hear(s))
			s->spawner_control.fd = -1;
		if (p[1].revents && told_to_stop(s->signals.watch.fd))
			return true;
		if (!p[0].revents)
			continue;
		if (read(s->lifeline_fd, &word, 1) == 1 && word == WORD_READ)
			retire_read_last(s);
		return word == WORD_END;
	}
}

static _Noreturn void take_care(struct supervisor *s, int ready_fd)
{
	proc_title("tcpproxy: caretaker");
	sockets_close(&s->sockets, NULL); /* the trios have their own */
	be_known(s);
	close(ready_fd);
	if (wait_for_word(s))
		end_everything(s);
	_exit(0);
}

/* ---- the supervisor goes ---- */

static void go(struct supervisor *s)
{
	struct pollfd p = {.events = POLLIN};
	int ready[2];
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0) {
		supervisor_stop(s);
		return;
	}
	log_info("leaving: the workers and their connections wait for what systemd does: a start "
	         "takes them over, a "
	         "stop ends them");
	upgrade_release_guard(s);
	for (uint32_t i = 0; i < s->n_crews; i++)
		crew_drain(&s->crews[i]);
	pid = fork();
	if (pid == 0) {
		close(ready[0]);
		take_care(s, ready[1]);
	}
	close(ready[1]);
	if (pid < 0) {
		close(ready[0]);
		log_error("cannot leave the workers alone: %s", strerror(errno));
		supervisor_stop(s);
		return;
	}
	/* from here on everything is the child's */
	trial_stop(s);
	p.fd = ready[0];
	poll(&p, 1, CHANGE_LIMIT_MS);
	supervisor_remove_pidfile(s);
	admin_stop(s);
	_exit(0);
}

/* ---- the supervisor asks ---- */

static void stop_asking(struct supervisor *s)
{
	int fd = s->barrier.fd;

	timer_clear(&s->loop, &s->stop_timer);
	watch_remove(&s->loop, &s->barrier);
	close(fd);
}

static void answered(void *arg, uint32_t events)
{
	struct supervisor *s = arg;

	stop_asking(s);
	if (s->stopping)
		return;
	if (hung_up(s->lifeline_fd))
		supervisor_stop(s); /* this unit has no store */
	else
		go(s);
}

static void no_answer(void *arg)
{
	struct supervisor *s = arg;

	stop_asking(s);
	systemd_unstore(LIFELINE);
	supervisor_stop(s);
}

/* Returns a descriptor that hangs up when systemd has decided, or -errno. */
static int ask(struct supervisor *s)
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
		s->lifeline_fd = ends[0];
	return rc;
}

/* The program before us, which may still be the main process for systemd, has stored one for us
 * (upgrade.c). */
static bool guard_has_asked(struct supervisor *s)
{
	char byte;

	if (s->lifeline_fd < 0)
		return false;
	if (read(s->lifeline_fd, &byte, 1) == 1)
		return true;
	close(s->lifeline_fd);
	s->lifeline_fd = -1;
	return false;
}

void supervisor_leave(struct supervisor *s)
{
	int fd;

	if (s->leaving || s->quitting || s->stopping) {
		supervisor_stop(s);
		return;
	}
	s->leaving = true;
	if (guard_has_asked(s)) {
		go(s);
		return;
	}
	fd = systemd_stopping("stopping");
	if (fd == 0)
		fd = ask(s);
	if (fd < 0 || watch_add(&s->loop, &s->barrier, fd, 0, answered, s) < 0)
		supervisor_stop(s); /* nobody manages us */
	else
		timer_set(&s->loop, &s->stop_timer, s->loop.now_ms + STORE_LIMIT_MS, no_answer, s);
}

/* ---- the next start ---- */

int leave_inherit(void)
{
	int fd = systemd_take_stored(LIFELINE);

	return fd < 0 ? -1 : fd;
}

static void cut(struct supervisor *s)
{
	systemd_unstore(LIFELINE);
	close(s->inherited_fd);
	s->inherited_fd = -1;
}

void leave_over(struct supervisor *s)
{
	if (s->inherited_fd < 0)
		return;
	cut(s);
	if (s->orphans.n > 0)
		upgrade_workers(s, "restart"); /* a restart is for the libraries' sake, too */
}

bool leave_end_others(struct supervisor *s, const char *why)
{
	int64_t end = clock_mono_ms() + OTHERS_LIMIT_MS;
	const char word = WORD_END;

	if (s->inherited_fd < 0 || hung_up(s->inherited_fd))
		return false;
	log_warning("the workers of before %s: they are ended, and their connections with them", why);
	adopt_drop(&s->orphans);
	if (write(s->inherited_fd, &word, 1) == 1)
		while (!hung_up(s->inherited_fd) && clock_mono_ms() < end)
			poll(NULL, 0, LOOK_MS); /* until the caretaker has exited */
	cut(s);
	return true;
}

bool leave_reader(struct supervisor *s)
{
	const char word = WORD_READ;

	return s->inherited_fd >= 0 && !hung_up(s->inherited_fd) && write(s->inherited_fd, &word, 1) == 1;
}

void leave_failed(int lifeline_fd)
{
	const char word = WORD_ALONE;

	if (lifeline_fd < 0 || hung_up(lifeline_fd) || write(lifeline_fd, &word, 1) < 0)
		return;
	log_error("the workers of before go on without a supervisor, by the configuration that "
	          "they had: start again "
	          "when this is mended, or end them (systemctl kill --kill-who=all -s KILL)");
}
