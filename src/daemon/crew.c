#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/leave.h"
#include "daemon/supervisor.h"
#include "daemon/worker.h"
#include "os/proc.h"
#include "os/sock.h"
#include "os/user.h"
#include "proxy/accesslog.h"
#include "takeover/keeper.h"

#define DRAIN_MS       20   /* while records come, look so often instead of being woken for each */
#define DRAIN_AT_ONCE  2000
#define SEND_WAIT_MS   1000
#define KNOCK_MS       20
#define TRIO_FIXED_FDS 48   /* descriptors of a trio that are no connection's: see rows_per_trio */

/* ---- the log of a trio ---- */

static void log_message(struct crew *c, uint32_t type, const void *data, size_t len)
{
	struct supervisor *s = c->supervisor;
	static struct line_message line;

	if (type == MESSAGE_RECORD) {
		char texts[sizeof(((struct record_message *)0)->texts) + 2];
		struct record r;
		uint32_t label;

		if (!accesslog_read(data, len, s->world, texts, &r, &label) || r.unwanted)
			return;
		r.format = label < WORLD_LABELS ? s->formats[label] : NULL;
		logger_record(s->logger, &r);
	} else if (type == MESSAGE_LINE && len > offsetof(struct line_message, text) &&
		   len < sizeof(line)) {
		memcpy(&line, data, len);
		line.text[len - offsetof(struct line_message, text)] = '\0';
		logger_line(s->logger, line.level > LOG_LEVEL_DEBUG ? LOG_LEVEL_ERROR : line.level,
			    line.text, line.wall_us);
	}
}

void crew_drain(struct crew *c)
{
	const void *data;
	uint32_t type;
	size_t len;
	uint64_t lost;

	for (int n = 0; n < DRAIN_AT_ONCE && ring_peek(c->ring, TRIO_RING, &type, &data, &len); n++) {
		log_message(c, type, data, len);
		ring_drop(c->ring, TRIO_RING);
	}
	lost = ring_take_lost(c->ring);
	if (lost)
		atomic_fetch_add(&c->supervisor->world->deeds.lines_lost, lost);
	if (lost)
		log_error("worker %u: %llu log lines are lost: they came faster than they could be "
			  "written",
			  c->number, (unsigned long long)lost);
}

static void log_deaths(struct crew *c)
{
	static const char *const names[] = {"keeper", "keeper", "worker"};
	unsigned n = atomic_load(&c->trio->n_deaths);

	if (n - c->deaths_seen > TRIO_DEATHS)
		c->deaths_seen = n - TRIO_DEATHS;
	for (; c->deaths_seen != n; c->deaths_seen++) {
		struct trio_death d = c->trio->deaths[c->deaths_seen % TRIO_DEATHS];
		const char *who = d.member < MEMBERS ? names[d.member] : "member";

		if (c->supervisor->stopping)
			continue;
		if (d.status >= 0 && WIFSIGNALED(d.status))
			log_error("%s %u (pid %d) was killed by signal %d (%s) and is replaced", who,
				  c->number, d.pid, WTERMSIG(d.status), strsignal(WTERMSIG(d.status)));
		else
			log_error("%s %u (pid %d) has died and is replaced", who, c->number, d.pid);
	}
}

static void drain_tick(void *arg)
{
	struct crew *c = arg;
	bool more = !ring_empty(c->ring);

	crew_drain(c);
	log_deaths(c);
	if (more) {
		timer_set(&c->supervisor->loop, &c->drain_timer,
			  c->supervisor->loop.now_ms + DRAIN_MS, drain_tick, c);
		return;
	}
	/* from here on wake us; what came between the look and this is looked at once more */
	atomic_store(&c->trio->reader_waits, 1);
	if (!ring_empty(c->ring))
		crew_drain(c);
}

static void woken(void *arg, uint32_t events)
{
	struct crew *c = arg;
	uint64_t count;

	if (read(c->wake_fd, &count, sizeof(count)) < 0)
		return;
	drain_tick(c);
}

/* ---- talking to a worker ---- */

/* The buffer of the socket is much larger than anything we say at a time; a worker that is stopped is
 * waited for a moment, no longer. */
void crew_send(struct crew *c, const struct wire *w, const int *fds, size_t n_fds)
{
	int rc;

	if (c->control.fd < 0)
		return;
	rc = sock_send_message(c->control.fd, w, sizeof(*w), fds, n_fds);
	if (rc == -EAGAIN) {
		struct pollfd p = {.fd = c->control.fd, .events = POLLOUT};

		poll(&p, 1, SEND_WAIT_MS);
		rc = sock_send_message(c->control.fd, w, sizeof(*w), fds, n_fds);
	}
	if (rc < 0 && rc != -EPIPE && rc != -ECONNRESET)
		log_error("telling worker %u something: %s", c->number, strerror(-rc));
}

void crews_send(struct supervisor *s, const struct wire *w, const int *fds, size_t n_fds)
{
	for (uint32_t i = 0; i < s->n_crews; i++)
		crew_send(&s->crews[i], w, fds, n_fds);
}

static void knock_again(void *arg);

/* The last of the trios that were found is ours, or was lost meanwhile. */
static void check_adopted(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_crews; i++)
		if (!s->crews[i].adopted)
			return;
	if (s->upgraded) {
		upgrade_taken_over(s);
		return;
	}
	log_info("took over %u workers %s: their connections go on", s->n_adopted,
		 s->inherited_fd >= 0 ? "of before the restart" : "whose supervisor had died");
	if (s->config->workers && s->config->workers != s->n_crews)
		log_warning("\"workers\" takes effect when all has been stopped and started: %u were taken over",
			    s->n_crews);
	leave_over(s);
}

static void control_event(void *arg, uint32_t events)
{
	struct crew *c = arg;

	for (;;) {
		struct wire w;
		int len = sock_recv_message(c->control.fd, &w, sizeof(w), NULL, NULL);

		if (len == 0 || len == -ECONNRESET) {
			int fd = c->control.fd;

			watch_remove(&c->supervisor->loop, &c->control);
			close(fd);
			knock_again(c);
			return;
		}
		if (len < 0)
			return;
		if (len == sizeof(w) && w.type == WIRE_ADOPTED && !c->adopted) {
			c->adopted = true;
			c->supervisor->n_adopted++;
			check_adopted(c->supervisor);
		}
		if (len == sizeof(w) && w.type == WIRE_LOPSIDED)
			balance_asked(&c->supervisor->balance, w.n != 0);
		if (len == sizeof(w) && w.type == WIRE_GIVEN)
			balance_done(&c->supervisor->balance, c->number, w.n);
		if (len == sizeof(w) && w.type == WIRE_FACTS_WRITTEN)
			admin_facts_written(c->supervisor, c->number, w.generation);
		if (len == sizeof(w) && w.type == WIRE_IDLE) {
			c->idle = true;
			supervisor_check_idle(c->supervisor);
		}
	}
}

/* ---- starting a trio ---- */

static struct worker_setup worker_setup;

/* In the child: nothing of the supervisor's stays but what a trio needs. */
static _Noreturn void become_trio(struct crew *c, int control_fd, int supervisor_pidfd)
{
	struct supervisor *s = c->supervisor;
	int keep[2 * WORLD_WORKERS + 8];
	size_t n = 0;
	struct rlimit limit;

	keep[n++] = control_fd;
	keep[n++] = supervisor_pidfd;
	keep[n++] = c->wake_fd;
	keep[n++] = s->world_fd;
	if (c->door_fd >= 0)
		keep[n++] = c->door_fd;
	for (uint32_t i = 0; i < s->n_crews; i++) {
		keep[n++] = s->rearm_fds[i];
		keep[n++] = s->crews[i].memfd;
		c->trio->peer_rearm_fds[i] = s->rearm_fds[i];
		c->trio->peer_fds[i] = s->crews[i].memfd;
	}
	c->trio->n_peers = s->n_crews;
	c->trio->supervisor_fd = supervisor_pidfd;
	proc_close_except(3, keep, n);
	/* a fault of the program is still told where there is somebody to read it */
	proc_null_streams(s->setup->daemon ? 2 : 1);
	user_drop_capabilities();
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	getrlimit(RLIMIT_NOFILE, &limit);
	proc_size_table((unsigned)limit.rlim_cur);
	c->trio->table_size = (uint32_t)limit.rlim_cur;
	c->trio->control_fd = control_fd;
	c->trio->wake_fd = c->wake_fd;
	c->trio->trio_fd = c->memfd;
	c->trio->world_fd = s->world_fd;
	c->trio->door_fd = c->door_fd;
	c->trio->uid = geteuid();
	c->trio->rearm_fd = s->rearm_fds[c->number];
	worker_setup = (struct worker_setup){.trio = c->trio,
					     .world = s->world,
					     .trios = s->trios,
					     .n_trios = s->n_crews,
					     .rearm_fds = s->rearm_fds};
	trio_run(&(struct trio_setup){.trio = c->trio,
				      .supervisor_pidfd = supervisor_pidfd,
				      .worker = worker_run,
				      .forget = worker_forget,
				      .arg = &worker_setup});
}

static int crew_start(struct crew *c)
{
	struct supervisor *s = c->supervisor;
	int pair[2], pidfd, rc;
	pid_t pid;

	rc = sock_message_pair(pair);
	if (rc < 0)
		return rc;
	c->adopted = true; /* it is ours from birth */
	pidfd = proc_pidfd(getpid());
	pid = pidfd < 0 ? -1 : fork();
	if (pid == 0)
		become_trio(c, pair[1], pidfd);
	rc = pid < 0 ? -errno : 0;
	close(pair[1]);
	if (pidfd >= 0)
		close(pidfd);
	if (rc < 0) {
		close(pair[0]);
		return rc;
	}
	watch_add(&s->loop, &c->control, pair[0], EPOLLIN, control_event, c);
	crew_send(c, &(struct wire){.type = WIRE_RULES, .generation = s->generation}, &s->rules_fd, 1);
	dump_tell(c);
	supervisor_send_listeners(s, c, &s->sockets, NULL);
	return 0;
}

/* A trio that serves already: it is told what has changed since its last supervisor. */
static int crew_take(struct crew *c, int control_fd)
{
	struct supervisor *s = c->supervisor;
	struct wire gone = {.type = WIRE_UNLISTEN};
	int rc = watch_add(&s->loop, &c->control, control_fd, EPOLLIN, control_event, c);

	if (rc < 0)
		return rc;
	crew_send(c, &(struct wire){.type = WIRE_RULES, .generation = s->generation}, &s->rules_fd, 1);
	supervisor_send_listeners(s, c, &s->sockets, NULL);
	crew_drain(c); /* what was said while nobody listened */
	for (size_t i = 0; i < s->orphans.sockets.n; i++) {
		if (sockets_has(&s->sockets, s->orphans.sockets.list[i].id))
			continue;
		gone.n = 1;
		gone.ids[0] = s->orphans.sockets.list[i].id;
		crew_send(c, &gone, NULL, 0);
	}
	return 0;
}

/* All three members are gone at once, and with them every socket. What can be done is said. */
static void lost_record(struct crew *c, uint32_t i)
{
	struct record_message m;

	trio_row(c->trio, i)->end = END_LOST;
	log_message(c, MESSAGE_RECORD, &m,
		    accesslog_fill(c->trio, c->supervisor->world, i, RECORD_CLOSE, &m));
}

static void crew_lost(struct crew *c)
{
	struct supervisor *s = c->supervisor;
	bool was_adopted = c->adopted;
	uint32_t lost = 0;

	crew_drain(c);
	if (s->stopping) {
		supervisor_check_stopped(s);
		return;
	}
	for (uint32_t i = 0; i < c->trio->rows_used; i++)
		if (trio_row(c->trio, i)->state != ROW_FREE) {
			lost_record(c, i);
			lost++;
		}
	log_error("worker %u and both its keepers have died at once: %u connections are lost; starting "
		  "again",
		  c->number, lost);
	trio_reset(c->trio);
	/* if we are next, within a second, the new one is not wanted either (the fuser rule) */
	atomic_store(&c->trio->member_died_ms, clock_mono_ms());
	atomic_store(&s->world->live[c->number], 0);
	atomic_store(&s->world->disarmed[c->number], 0);
	c->deaths_seen = 0;
	if (crew_start(c) < 0)
		log_error("worker %u cannot be started again", c->number);
	else
		spawner_start(s); /* its channels are new for all */
	if (!was_adopted)
		check_adopted(s);
}

bool crew_alive(const struct crew *c)
{
	for (int m = 0; m < MEMBERS; m++)
		if (c->trio->pid[m] > 0 && kill(c->trio->pid[m], 0) == 0)
			return true;
	return false;
}

/* The control socket was closed. Mostly because nobody is left; but a worker that dies between its greeting and our
 * first word takes the connection with it, and the trio lives. */
static void knock_again(void *arg)
{
	struct crew *c = arg;
	struct supervisor *s = c->supervisor;
	int fd;

	if (s->stopping || c->adopted || !crew_alive(c)) {
		crew_lost(c);
		return;
	}
	fd = adopt_again(s->setup->what, c->number);
	if (fd < 0) {
		timer_set(&s->loop, &c->knock_timer, s->loop.now_ms + KNOCK_MS, knock_again, c);
		return;
	}
	adopt_take_one(fd);
	crew_take(c, fd);
	spawner_start(s); /* a channel for it, too */
}

/* Rows of one trio: three descriptors each, besides listeners and the fixed ones. */
static uint32_t rows_per_trio(const struct supervisor *s)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	return trio_rows_for(limit.rlim_cur, (uint32_t)s->sockets.n + TRIO_FIXED_FDS + s->n_crews);
}

static const struct orphan *orphan_of(const struct supervisor *s, uint32_t number)
{
	for (uint32_t i = 0; i < s->orphans.n; i++)
		if (s->orphans.list[i].number == number)
			return &s->orphans.list[i];
	return NULL;
}

static int crew_init(struct crew *c, struct supervisor *s, uint32_t number)
{
	const struct orphan *orphan = orphan_of(s, number);

	*c = (struct crew){.supervisor = s, .number = number, .door_fd = s->doors[number]};
	c->control.fd = -1;
	if (orphan) {
		c->trio = orphan->trio;
		c->memfd = orphan->fds[GREETING_TRIO];
		c->wake_fd = orphan->fds[GREETING_WAKE];
		s->rearm_fds[number] = orphan->fds[GREETING_REARM];
		c->deaths_seen = atomic_load(&c->trio->n_deaths);
	} else {
		c->memfd = trio_new(number, rows_per_trio(s), &c->trio);
		if (c->memfd < 0)
			return c->memfd;
		c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		s->rearm_fds[number] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	if (c->wake_fd < 0 || s->rearm_fds[number] < 0)
		return -errno;
	c->ring = trio_ring(c->trio);
	s->trios[number] = c->trio;
	atomic_store(&c->trio->reader_waits, 1);
	return watch_add(&s->loop, &c->wake, c->wake_fd, EPOLLIN, woken, c);
}

int crews_start(struct supervisor *s)
{
	int rc = 0;

	s->crews = mem_alloc(s->n_crews * sizeof(*s->crews));
	atomic_store(&s->world->n_workers, s->n_crews);
	for (uint32_t i = 0; i < s->n_crews && rc == 0; i++)
		rc = crew_init(&s->crews[i], s, i);
	adopt_take(&s->orphans);
	for (uint32_t i = 0; i < s->n_crews && rc == 0; i++) {
		const struct orphan *orphan = orphan_of(s, i);

		rc = orphan ? crew_take(&s->crews[i], orphan->control_fd) : crew_start(&s->crews[i]);
	}
	return rc;
}

bool crews_gone(const struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_crews; i++)
		if (s->crews[i].control.fd >= 0)
			return false;
	return true;
}

void crews_kill(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_crews; i++) {
		struct crew *c = &s->crews[i];

		for (int m = 0; m < MEMBERS && c->control.fd >= 0; m++)
			if (c->trio->pid[m] > 0)
				kill(c->trio->pid[m], SIGKILL);
	}
}
