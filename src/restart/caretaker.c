/* caretaker.c - see restart.c, steps 2 and 4. */
#include "restart/caretaker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "children/ring_reader.h"
#include "os/proc.h"
#include "restart/last_reader.h"

#define ADOPT_LIMIT_MS          1000 /* for the trios to know the caretaker */
#define CARETAKER_KILL_AFTER_MS 3000
#define GONE_AFTER_MS           300 /* what was killed */
#define CARETAKER_LOOK_MS       20

/* What a worker says; false: it says nothing more. */
static bool hear(struct worker *w)
{
	struct wire m;
	int len = 1;

	if (w->child.control.fd < 0)
		return false;
	for (int n = 0; n < HEAR_AT_ONCE && len > 0; n++) {
		len = sock_recv_message(w->child.control.fd, &m, sizeof(m), NULL, NULL);
		if (len == sizeof(m) && m.type == WIRE_ADOPTED) {
			w->adopted = true;
			w->adoption = atomic_load(&w->trio->supervisor_serial);
		}
	}
	if (len > 0 || len == -EAGAIN || len == -EINTR)
		return true;
	close(w->child.control.fd);
	w->child.control.fd = -1;
	return false;
}

static bool is_ours(struct worker *w)
{
	return hear(w) && w->adoption == atomic_load(&w->trio->supervisor_serial);
}

/* Those that the next supervisor has, or that are dead, are forgotten. */
static bool any_is_ours(struct workers *ws)
{
	bool any = false;

	for (uint32_t i = 0; i < ws->n; i++) {
		struct worker *w = &ws->list[i];

		if (is_ours(w)) {
			any = true;
		} else if (w->child.control.fd >= 0) {
			close(w->child.control.fd);
			w->child.control.fd = -1;
		}
	}
	return any;
}

static void wait_a_moment(struct children *c)
{
	struct workers *ws = &c->workers;
	struct pollfd p[WORLD_WORKERS + 1];
	nfds_t n = 0;

	p[n++] = (struct pollfd){.fd = c->spawner.child.control.fd, .events = POLLIN};
	for (uint32_t i = 0; i < ws->n; i++)
		p[n++] = (struct pollfd){.fd = ws->list[i].child.control.fd, .events = POLLIN};
	poll(p, n, CARETAKER_LOOK_MS);
}

/* To each trio an open file of its own: what it watches leaves its epoll set only when no process holds that file any
 * more. */
static void introduce(struct worker *w)
{
	struct wire m = {.type = WIRE_ADOPT, .leaves = 1};
	int pidfd = proc_pidfd(getpid());

	worker_send(w, &m, &pidfd, pidfd < 0 ? 0 : 1);
	if (pidfd >= 0)
		close(pidfd);
}

/* From now on they watch our death, and let the next supervisor in. */
static void be_known(struct children *c)
{
	struct workers *ws = &c->workers;
	int64_t end = clock_mono_ms() + ADOPT_LIMIT_MS;
	bool all = false;

	for (uint32_t i = 0; i < ws->n; i++) {
		ws->list[i].adopted = false;
		ws->list[i].adoption = atomic_load(&ws->list[i].trio->supervisor_serial);
		introduce(&ws->list[i]);
	}
	while (!all && clock_mono_ms() < end) {
		wait_a_moment(c);
		all = true;
		for (uint32_t i = 0; i < ws->n; i++)
			all = all && (!hear(&ws->list[i]) || ws->list[i].adopted);
	}
}

/* Its descriptors are closed, too: the next process can have its ports. */
static bool has_ended(const struct worker *w)
{
	bool ended = true;

	for (int m = 0; m < MEMBERS && ended; m++) {
		pid_t pid = *(volatile int32_t *)&w->trio->pid[m];
		int fd = pid > 0 ? proc_pidfd(pid) : -ESRCH;

		ended = fd < 0 ? fd == -ESRCH : proc_pidfd_dead(fd); /* that we have no descriptor proves nothing */
		if (fd >= 0)
			close(fd);
	}
	return ended;
}

static bool all_gone(struct children *c)
{
	struct workers *ws = &c->workers;
	bool gone = c->spawner.child.control.fd < 0 || !spawner_child_hear(&c->spawner);

	for (uint32_t i = 0; i < ws->n; i++) {
		struct worker *w = &ws->list[i];

		if (!w->ending)
			continue;
		if (hear(w) || !has_ended(w))
			gone = false;
		worker_drain(w);
	}
	return gone;
}

static bool wait_until_gone(struct children *c, int64_t limit_ms)
{
	int64_t end = clock_mono_ms() + limit_ms;

	while (!all_gone(c)) {
		if (clock_mono_ms() >= end)
			return false;
		wait_a_moment(c);
	}
	return true;
}

/* False: another supervisor has taken them. */
static bool end_everything(const struct caretaker *t)
{
	struct children *c = t->children;
	struct workers *ws = &c->workers;
	struct wire m = {.type = WIRE_STOP};

	if (!any_is_ours(ws))
		return false;
	log_info("stopping");
	phase_set(t->phase, PHASE_STOPPING);
	for (uint32_t i = 0; i < ws->n; i++) {
		ws->list[i].ending = ws->list[i].child.control.fd >= 0;
		if (ws->list[i].ending)
			atomic_store(&ws->list[i].trio->stopping, 1);
	}
	workers_send(ws, &m, NULL, 0);
	if (c->spawner.child.control.fd >= 0)
		sock_send_message(c->spawner.child.control.fd, &m, sizeof(m), NULL, 0);
	if (wait_until_gone(c, CARETAKER_KILL_AFTER_MS))
		return true;
	workers_kill(ws);
	if (c->spawner.child.control.fd >= 0)
		spawner_child_kill(&c->spawner);
	wait_until_gone(c, GONE_AFTER_MS);
	return true;
}

/* ---- the files of Unix sockets ---- */

static void note_path(void *arg, const char *path)
{
	buf_add(arg, path, strlen(path) + 1);
}

static void remove_files(const struct caretaker *t, const struct buf *paths)
{
	for (size_t at = 0; at < paths->len; at += strlen(paths->s + at) + 1)
		files_unlink(t->files, paths->s + at);
}

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
static bool wait_for_word(const struct caretaker *t)
{
	struct children *c = t->children;
	struct pollfd p[3] = {
	        {.fd = t->lifeline_fd, .events = POLLIN}, {.fd = t->signal_fd, .events = POLLIN}, {.events = POLLIN}};

	for (;;) {
		char word = WORD_END; /* what a hang-up means */

		p[2].fd = c->spawner.child.control.fd;
		poll(p, 3, -1);
		if (p[2].revents && !spawner_child_hear(&c->spawner))
			c->spawner.child.control.fd = -1;
		if (p[1].revents && told_to_stop(t->signal_fd))
			return true;
		if (!p[0].revents)
			continue;
		if (read(t->lifeline_fd, &word, 1) == 1 && word == WORD_READ)
			last_reader_run(c);
		return word == WORD_END;
	}
}

_Noreturn void caretaker_run(const struct caretaker *t, int ready_fd)
{
	struct buf paths = BUF_INIT;

	proc_title("tcpproxy: caretaker");
	sockets_unlink(t->listeners, NULL, note_path, &paths);
	sockets_close(t->listeners, NULL); /* the trios have their own */
	admin_sockets_let_go(t->admin_sockets);
	if (!paths.len)
		files_stop(t->files);
	network_leave(t->network);
	be_known(t->children);
	close(ready_fd);
	if (wait_for_word(t) && end_everything(t))
		remove_files(t, &paths);
	_exit(0);
}
