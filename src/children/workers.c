#include "children/workers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "children/ring_reader.h"
#include "children/told.h"
#include "ipc/accesslog.h"
#include "os/landlock.h"
#include "os/private.h"
#include "os/proc.h"
#include "os/shm.h"
#include "os/sock.h"
#include "takeover/keeper.h"
#include "worker/worker.h"

#define WORKERS_RECONNECT_MS 20
#define WORKERS_RESPAWN_MS   500 /* one that ends as soon as it was started */
#define TRIO_FIXED_FDS       48  /* descriptors of a trio that belong to no connection: see rows_per_trio */

static void reconnect(void *arg);

static void reconnect_later(struct worker *w)
{
	timer_set(w->workers->loop, &w->reconnect_timer, w->workers->loop->now_ms + WORKERS_RECONNECT_MS, reconnect, w);
}

/* The last of the trios that were found is ours, or was lost meanwhile. */
static void check_adopted(struct workers *ws)
{
	for (uint32_t i = 0; i < ws->n; i++)
		if (!ws->list[i].adopted)
			return;
	ws->events->adopted(ws->arg);
}

static void on_adopted(struct worker *w, const struct wire *m)
{
	if (w->adopted)
		return;
	w->adopted = true;
	w->workers->n_adopted++;
	check_adopted(w->workers);
}

static void on_imbalance(struct worker *w, const struct wire *m)
{
	w->workers->events->imbalance(w->workers->arg, m->busy != 0);
}

static void on_ejected(struct worker *w, const struct wire *m)
{
	w->workers->events->ejected(w->workers->arg);
}

static void on_given(struct worker *w, const struct wire *m)
{
	w->workers->events->moved(w->workers->arg, w->number, m->n);
}

static void on_tcp_info(struct worker *w, const struct wire *m)
{
	w->workers->events->tcp_info_written(w->workers->arg, w->number, m->request);
}

static void on_synced(struct worker *w, const struct wire *m)
{
	told_obeyed(w, m->number);
}

static void on_idle(struct worker *w, const struct wire *m)
{
	w->idle = true;
	w->workers->events->idle(w->workers->arg);
}

/* What a worker may say; anything else is not for us. */
static void (*const heard[])(struct worker *w, const struct wire *m) = {
        [WIRE_IDLE] = on_idle,           [WIRE_ADOPTED] = on_adopted,           [WIRE_GIVEN] = on_given,
        [WIRE_IMBALANCE] = on_imbalance, [WIRE_TCP_INFO_WRITTEN] = on_tcp_info, [WIRE_SYNCED] = on_synced,
        [WIRE_EJECTED] = on_ejected,
};

static void workers_control_event(void *arg, uint32_t events)
{
	struct worker *w = arg;

	if (events & EPOLLOUT)
		outbox_flush(&w->child.outbox);
	for (int n = 0; n < HEAR_AT_ONCE; n++) {
		struct wire m;
		int len = sock_recv_message(w->child.control.fd, &m, sizeof(m), NULL, NULL);

		if (len == 0 || len == -ECONNRESET) {
			child_stop_hearing(&w->child);
			told_end(w);
			reconnect(w);
			told_check(w->workers);
			return;
		}
		if (len < 0)
			return;
		if (len == sizeof(m) && m.type < ARRAY_LEN(heard) && heard[m.type])
			heard[m.type](w, &m);
	}
}

/* ---- starting a trio ---- */

static struct worker_setup worker_setup;

/* Its own memory; that of another trio can only be read. */
static int peer_fd(struct worker *w, uint32_t i)
{
	struct workers *ws = w->workers;
	int fd = -1;

	if (i == w->number)
		return w->memfd;
	if (shm_make_read_only(ws->list[i].trio, trio_size, ws->list[i].memfd) == 0)
		fd = shm_for_reading(ws->list[i].memfd);
	if (fd < 0)
		_exit(1);
	return fd;
}

/* In the child: nothing of the supervisor's stays but what a trio needs. */
static _Noreturn void become_trio(struct worker *w, int control_fd, int supervisor_pidfd, int err)
{
	struct workers *ws = w->workers;
	int keep[2 * WORLD_WORKERS + 9 + BLANK_KINDS_MAX];
	size_t n = 0;
	struct rlimit limit;

	keep[n++] = control_fd;
	keep[n++] = supervisor_pidfd;
	keep[n++] = w->wake_fd;
	keep[n++] = ws->world_fds.shared;
	keep[n++] = ws->world_fds.said;
	keep[n++] = ws->rules->fd;
	if (ws->stick.memory)
		keep[n++] = ws->stick_fd;
	if (ws->blanks)
		w->trio->blanks = *ws->blanks;
	for (size_t i = 0; i < w->trio->blanks.n; i++)
		keep[n++] = w->trio->blanks.fds[i];
	if (w->door_fd >= 0)
		keep[n++] = w->door_fd;
	for (uint32_t i = 0; i < ws->n; i++) {
		keep[n++] = ws->rearm_fds[i];
		keep[n++] = w->trio->peer_fds[i] = peer_fd(w, i);
		w->trio->peer_rearm_fds[i] = ws->rearm_fds[i];
	}
	proc_leave_terminal();
	w->trio->n_peers = ws->n;
	w->trio->supervisor_fd = supervisor_pidfd;
	w->trio->supervisor_pid = (int32_t)getppid();
	proc_streams(err);
	FAULT_ASK();
	proc_close_except(3, keep, n);
	/* what the supervisor still may, the keepers carry over an exec and use for nothing else; see os/private.h */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* Of the whole trio, not of its workers: those, too, must end keepers that are older than they (the rule of fuser). */
	landlock_keep_signals();
	getrlimit(RLIMIT_NOFILE, &limit);
	proc_size_table((unsigned)limit.rlim_cur);
	w->trio->table_size = (uint32_t)limit.rlim_cur;
	/* at hand from birth: what the worker may do depends on them */
	w->trio->config_fd = ws->rules->fd;
	w->trio->config_generation = ws->rules->generation;
	w->trio->control_fd = control_fd;
	w->trio->wake_fd = w->wake_fd;
	w->trio->trio_fd = w->memfd;
	w->trio->world_fd = ws->world_fds.shared;
	w->trio->said_fd = ws->world_fds.said;
	w->trio->stick_fd = ws->stick.memory ? ws->stick_fd : -1;
	w->trio->door_fd = w->door_fd;
	w->trio->uid = geteuid();
	w->trio->rearm_fd = ws->rearm_fds[w->number];
	worker_setup = (struct worker_setup){
	        .trio = w->trio, .world = ws->world, .trios = ws->trios, .n_trios = ws->n, .rearm_fds = ws->rearm_fds};
	trio_run(&(struct trio_setup){.trio = w->trio,
	                              .supervisor_pidfd = supervisor_pidfd,
	                              .worker = worker_run,
	                              .forget = worker_forget,
	                              .arg = &worker_setup});
}

static void workers_become(void *arg, int control_fd, int err)
{
	struct worker *w = arg;
	int supervisor_pidfd = w->workers->pidfd;

	become_trio(w, control_fd, supervisor_pidfd, err);
}

static int start(struct worker *w)
{
	struct workers *ws = w->workers;
	char words[32];
	int rc;

	w->adopted = true; /* it is ours from birth */
	snprintf(words, sizeof(words), "worker %u", w->number);
	ws->pidfd = proc_pidfd(getpid());
	if (ws->pidfd < 0)
		return ws->pidfd;
	rc = child_start(&w->child, fork, words, workers_become, workers_control_event, w);
	close(ws->pidfd);
	if (rc < 0)
		return rc;
	w->session = w->child.pid;
	ws->events->begun(ws->arg, w);
	told_begin(w, ws->rules->generation, NULL);
	w->told.stick = ws->stick_number;
	w->told.blank = true;
	told_update(w);
	return 0;
}

/* After the first start, whenever it can be. */
static int start_late(void *arg)
{
	struct worker *w = arg;
	int rc = start(w);

	if (rc == 0)
		w->workers->events->mute(w->workers->arg);
	return rc;
}

/* The reader of its stderr has gone with the supervisor before us. */
static void take_words(struct worker *w)
{
	int err = lastwords_open(&w->child.words, w->workers->loop, "worker %u", w->number);

	if (err < 0) {
		log_warning("what worker %u may write to stderr is not logged: %s", w->number, strerror(-err));
		return;
	}
	worker_send(w, &(struct wire){.type = WIRE_STDERR_IS}, &err, 1);
	close(err);
}

/* A trio that serves already: it is told whose it is, and what has changed since its last supervisor. */
static int take(struct worker *w, int control_fd)
{
	struct workers *ws = w->workers;
	struct wire quit = {.type = WIRE_QUIT};
	int rc = watch_add(ws->loop, &w->child.control, control_fd, EPOLLIN, workers_control_event, w);

	if (rc == 0)
		rc = adopt_take_one(control_fd);
	if (rc < 0) {
		watch_remove(ws->loop, &w->child.control);
		return rc;
	}
	w->session = rendezvous_session(control_fd);
	worker_send(w, &(struct wire){.type = WIRE_SAID}, &ws->world_fds.said, 1);
	take_words(w);
	told_begin(w, 0, &ws->orphans.sockets);
	told_update(w);
	worker_drain(w); /* what was said while it had no supervisor */
	if (*ws->phase == PHASE_DRAINING)
		worker_send(w, &quit, NULL, 0);
	return 0;
}

/* All three members are gone at once, and with them every socket. What can be done is said. */
static void lost_record(struct worker *w, uint32_t i)
{
	struct record_message m;

	trio_row(w->trio, i)->end = END_LOST;
	ring_reader_take(w, MESSAGE_RECORD, &m, accesslog_fill(w->trio, w->workers->world, i, RECORD_CLOSE, &m));
}

static void lost(struct worker *w)
{
	struct workers *ws = w->workers;
	bool was_adopted = w->adopted;
	uint32_t lost = 0;

	worker_drain(w);
	lastwords_hear(&w->child.words);
	if (*ws->phase == PHASE_STOPPING) {
		ws->events->gone(ws->arg);
		return;
	}
	for (uint32_t i = 0; i < trio_rows_used(w->trio) && i < w->n_rows; i++)
		if (trio_row(w->trio, i)->state != ROW_FREE) {
			lost_record(w, i);
			lost++;
		}
	log_error("worker %u and both its keepers have died at once: %u connections are lost%s", w->number, lost,
	          *ws->phase == PHASE_DRAINING ? "" : "; starting again");
	trio_reset(w->trio, w->number, w->n_rows);
	/* if we are next, within a second, the new one is not wanted either (the fuser rule) */
	atomic_store(&w->trio->member_died_ms, clock_mono_ms());
	atomic_store(&ws->world->live[w->number], 0);
	atomic_store(&ws->world->disarmed[w->number], 0);
	w->deaths_seen = 0;
	w->adopted = true; /* whenever there is a new one */
	w->idle = *ws->phase == PHASE_DRAINING;
	if (*ws->phase == PHASE_DRAINING)
		ws->events->idle(ws->arg);
	else
		again_start_at(&w->child.again, w->child.started_ms + WORKERS_RESPAWN_MS);
	if (!was_adopted)
		check_adopted(ws);
}

bool worker_signal(const struct worker *w, int member, int sig)
{
	pid_t pid = member >= 0 && member < MEMBERS ? *(volatile int32_t *)&w->trio->pid[member] : 0;

	return strangers_has(&w->workers->strangers, pid) && kill(pid, sig) == 0;
}

bool worker_alive(const struct worker *w)
{
	for (int m = 0; m < MEMBERS; m++)
		if (worker_signal(w, m, 0))
			return true;
	return false;
}

/* The control socket was closed. Mostly because no member is left; but a worker that dies between its greeting and our
 * first word takes the connection with it, and the trio lives. */
static void reconnect(void *arg)
{
	struct worker *w = arg;
	struct workers *ws = w->workers;
	int fd;

	if (*ws->phase == PHASE_STOPPING || w->adopted || !worker_alive(w)) {
		lost(w);
		return;
	}
	fd = adopt_again(ws->what, ws->key, w->number);
	if (fd < 0 || take(w, fd) < 0) {
		if (fd >= 0)
			close(fd);
		reconnect_later(w);
		return;
	}
	ws->events->mute(ws->arg);
}

/* Rows of one trio: three descriptors each, besides listeners and the fixed ones. */
static uint32_t rows_per_trio(const struct workers *ws)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	return trio_rows_for(limit.rlim_cur, (uint32_t)ws->rules->listeners.n + TRIO_FIXED_FDS + ws->n);
}

static const struct orphan *orphan_of(const struct workers *ws, uint32_t number)
{
	for (uint32_t i = 0; i < ws->orphans.n; i++)
		if (ws->orphans.list[i].number == number)
			return &ws->orphans.list[i];
	return NULL;
}

static void outbox_emptied(void *arg)
{
	told_update(arg);
}

static int begin_one(struct worker *w, struct workers *ws, uint32_t number)
{
	const struct orphan *orphan = orphan_of(ws, number);
	char who[32];

	*w = (struct worker){.workers = ws, .number = number, .door_fd = ws->doors[number]};
	snprintf(who, sizeof(who), "worker %u", number);
	child_init(&w->child, ws->loop, who, start_late, outbox_emptied, w);
	if (orphan) {
		w->trio = orphan->trio;
		w->memfd = orphan->fds[GREETING_TRIO];
		w->wake_fd = orphan->fds[GREETING_WAKE];
		ws->rearm_fds[number] = orphan->fds[GREETING_REARM];
		w->deaths_seen = atomic_load(&w->trio->n_deaths);
	} else {
		w->memfd = trio_new(number, rows_per_trio(ws), &w->trio);
		if (w->memfd < 0)
			return w->memfd;
		w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ws->rearm_fds[number] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	if (w->wake_fd < 0 || ws->rearm_fds[number] < 0)
		return -errno;
	w->n_rows = trio_n_rows(w->trio);
	w->ring = trio_ring(w->trio);
	ws->trios[number] = w->trio;
	w->trio->key = ws->key;
	w->trio->is_private = private_is();
	atomic_store(&w->trio->reader_waits, 1);
	return watch_add(ws->loop, &w->wake, w->wake_fd, EPOLLIN, ring_reader_woken, w);
}

/* Workers that serve already need not end because another one cannot be started now. */
static int serve(struct worker *w)
{
	const struct orphan *orphan = orphan_of(w->workers, w->number);
	int rc;

	if (!orphan && w->workers->orphans.n == 0)
		return start(w);
	if (!orphan) {
		again_start(&w->child.again);
		return 0;
	}
	rc = take(w, orphan->control_fd);
	if (rc == -ETOOMANYREFS ||
	    rc == -ENOBUFS) { /* no descriptor can be sent now: it is told a little later whose it is */
		close(orphan->control_fd);
		reconnect_later(w);
		rc = 0;
	}
	return rc;
}

int workers_start(struct workers *ws)
{
	int rc = 0;

	ws->list = mem_alloc(ws->n * sizeof(*ws->list));
	atomic_store(&ws->world->n_workers, ws->n);
	for (uint32_t i = 0; i < ws->n && rc == 0; i++)
		rc = begin_one(&ws->list[i], ws, i);
	if (rc < 0)
		ws->n = 0; /* none of them is whole */
	for (uint32_t i = 0; i < ws->n && rc == 0; i++)
		rc = serve(&ws->list[i]);
	return rc;
}

void workers_cancel(struct workers *ws)
{
	for (uint32_t i = 0; i < ws->n; i++) {
		struct worker *w = &ws->list[i];

		if (again_is_pending(&w->child.again))
			w->idle = true;
		again_cancel(&w->child.again);
	}
}

bool workers_gone(const struct workers *ws)
{
	for (uint32_t i = 0; i < ws->n; i++)
		if (ws->list[i].child.control.fd >= 0)
			return false;
	return true;
}

void workers_kill(struct workers *ws)
{
	for (uint32_t i = 0; i < ws->n; i++) {
		struct worker *w = &ws->list[i];

		for (int m = 0; m < MEMBERS && w->child.control.fd >= 0; m++)
			worker_signal(w, m, SIGKILL);
	}
}

void workers_mark_stopping(struct workers *ws)
{
	for (uint32_t i = 0; i < ws->n; i++)
		atomic_store(&ws->list[i].trio->stopping, 1);
}

void workers_drain(struct workers *ws)
{
	for (uint32_t i = 0; i < ws->n; i++)
		worker_drain(&ws->list[i]);
}

bool workers_have_session(const struct workers *ws, pid_t session)
{
	for (uint32_t i = 0; i < ws->n; i++)
		if (ws->list[i].session == session)
			return true;
	return false;
}
