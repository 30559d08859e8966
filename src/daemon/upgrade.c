/*
 * upgrade.c - the program at the path we were started from replaces us, and no connection notices.
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
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "daemon/leave.h"
#include "daemon/supervisor.h"
#include "os/proc.h"
#include "os/systemd.h"
#include "os/user.h"

#define VARIABLE        UPGRADE_VARIABLE /* "FILES GUARD LIFELINE SPAWNER": descriptors, -1: none */
#define ROLLED_BACK     (-2)               /* in place of GUARD: the new program has failed */
#define GUARD_LIMIT_MS  20000
#define RENEW_LIMIT_MS  5000
#define LOOK_MS         5
#define ANSWER_LIMIT_MS 1000 /* systemd's */
#define GUARD_FDS       128

/* What the guard is told. */
#define GO              'g'
#define READ_ON         'r'

void upgrade_failed(struct supervisor *s, const char *fmt, ...)
{
	struct buf text = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	log_error("upgrade: %s", text.s);
	admin_upgrade_over(s, false, text.s);
	buf_release(&text);
}

/* ---- 3. the guard ---- */

static void keep_over_exec(int fd, bool keep)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static void set_variable(int files_fd, int guard_fd, int lifeline_fd, int spawner_fd)
{
	char text[64];

	snprintf(text, sizeof(text), "%d %d %d %d", files_fd, guard_fd, lifeline_fd, spawner_fd);
	setenv(VARIABLE, text, 1);
}

/* systemd takes no other main process while it stops the service. Then it still takes from us what is to be stored. */
static bool still_main(void)
{
	struct pollfd barrier = {.fd = -1}, probe;
	int ends[2];
	bool kept = false;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	if (systemd_store("probe", ends[1]) == 0)
		barrier.fd = systemd_barrier();
	close(ends[1]);
	if (barrier.fd >= 0 && poll(&barrier, 1, ANSWER_LIMIT_MS) == 1) {
		probe = (struct pollfd){.fd = ends[0]};
		kept = poll(&probe, 1, 0) == 0;
		systemd_unstore("probe");
	}
	close(ends[0]);
	if (barrier.fd >= 0)
		close(barrier.fd);
	return kept;
}

/* What was meant for the main process, while that was us. A TERM may be half a restart (leave.c), and nobody but us can
 * put the supervisor's lifeline into the store; a byte in it says that this was done. */
static void pass_on_signals(pid_t supervisor, int lifeline_fd)
{
	static const int list[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, 0};
	const struct timespec now = {0}, look = {.tv_nsec = 50000000};
	bool main = still_main();
	sigset_t set;
	int sig;

	sigemptyset(&set);
	for (const int *s = list; *s; s++)
		sigaddset(&set, *s);
	do {
		sig = sigtimedwait(&set, NULL, main ? &look : &now);
		if (sig == SIGTERM && main && systemd_store(LIFELINE, lifeline_fd) == 0 &&
		    write(lifeline_fd, "", 1) < 0)
			return;
		if (sig > 0)
			kill(supervisor, sig);
	} while (sig > 0 || (main && kill(supervisor, 0) == 0));
}

/* Waits for the word of the new program; else goes on in its place. */
static _Noreturn void guard(struct supervisor *s, int fd, int lifeline_fd, pid_t supervisor)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int keep[GUARD_FDS + WORLD_WORKERS] = {fd, s->files.fd, lifeline_fd, admin_upgrade_client(s)};
	size_t n = 4;
	char word;

	proc_title("tcpproxy: guard");
	for (size_t i = 0; i < s->admin_sockets.n && n < GUARD_FDS / 2; i++)
		keep[n++] = s->admin_sockets.list[i].fd;
	n += logger_fds(s->logger, keep + n, GUARD_FDS / 2);
	for (uint32_t i = 0; i < s->n_crews; i++)
		keep[n++] = s->crews[i].wake_fd;
	proc_close_except(3, keep, n);
	if (poll(&p, 1, GUARD_LIMIT_MS) == 1 && read(fd, &word, 1) == 1) {
		systemd_main_pid(supervisor);
		pass_on_signals(supervisor, lifeline_fd);
		close(lifeline_fd);
		s->spawner_control.fd = -1; /* the new supervisor hears it */
		if (word == READ_ON)
			retire_read_last(s);
		_exit(0);
	}
	kill(supervisor, SIGKILL);
	systemd_inherit();
	keep_over_exec(s->files.fd, true);
	set_variable(s->files.fd, ROLLED_BACK, -1, -1);
	admin_keep_over_exec(s, true);
	/* the file may have been replaced; this is the program that we are */
	execv("/proc/self/exe", s->setup->argv);
	_exit(1);
}

/* Returns the end of the pipe by which it is told, or -errno. It holds the other end of s->lifeline_fd. */
static int start_guard(struct supervisor *s)
{
	pid_t supervisor = getpid(), pid;
	int ends[2], lifeline[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(lifeline, O_CLOEXEC | O_NONBLOCK) < 0) {
		close(ends[0]);
		close(ends[1]);
		return -EMFILE;
	}
	pid = fork();
	if (pid == 0)
		guard(s, ends[0], lifeline[1], supervisor);
	close(ends[0]);
	close(lifeline[1]);
	if (pid < 0) {
		close(ends[1]);
		close(lifeline[0]);
		return -EAGAIN;
	}
	if (s->lifeline_fd >= 0)
		close(s->lifeline_fd); /* of an earlier upgrade */
	s->lifeline_fd = lifeline[0];
	systemd_main_pid(pid); /* so that our end is not that of the service; it gives this back */
	return ends[1];
}

/* ---- 2. becoming the new program ---- */

static void set_leaving(struct supervisor *s, int leaving)
{
	for (uint32_t i = 0; i < s->n_crews; i++) {
		crew_drain(&s->crews[i]);
		atomic_store(&s->crews[i].trio->leaving, leaving);
	}
}

void upgrade_become(struct supervisor *s)
{
	int guard_fd = start_guard(s);

	if (guard_fd < 0) {
		upgrade_failed(s, "%s: nothing has changed", strerror(-guard_fd));
		return;
	}
	log_info("upgrade: becoming %s", s->setup->binary);
	set_leaving(s, 1);
	keep_over_exec(guard_fd, true);
	keep_over_exec(s->files.fd, true);
	keep_over_exec(s->lifeline_fd, true);
	keep_over_exec(s->spawner_control.fd, true);
	set_variable(s->files.fd, guard_fd, s->lifeline_fd, s->spawner_control.fd);
	admin_keep_over_exec(s, true);
	user_keep_over_exec();
	setrlimit(RLIMIT_NOFILE, &s->nofile_before); /* as it was found */
	execv(s->setup->binary, s->setup->argv);
	upgrade_failed(s, "cannot execute %s: %s: nothing has changed", s->setup->binary,
		  strerror(errno));
	set_leaving(s, 0);
	unsetenv(VARIABLE);
	user_after_exec();
	proc_raise_nofile(NOFILE_CAP, &s->nofile_before);
	keep_over_exec(s->files.fd, false);
	keep_over_exec(s->spawner_control.fd, false);
	admin_keep_over_exec(s, false);
	if (write(guard_fd, (char[]){GO}, 1) < 0)
		log_warning("upgrade: the guard is gone");
	close(guard_fd);
	close(s->lifeline_fd);
	s->lifeline_fd = -1;
}

/* ---- in the new program ---- */

bool upgrade_inherit(struct supervisor *s)
{
	const char *text = getenv(VARIABLE);
	int files = -1, guard_fd = -1, lifeline_fd = -1, spawner_fd = -1;

	s->guard_fd = s->old_spawner_fd = -1;
	if (!text || sscanf(text, "%d %d %d %d", &files, &guard_fd, &lifeline_fd, &spawner_fd) < 2)
		return false;
	unsetenv(VARIABLE);
	s->files.fd = files;
	s->guard_fd = guard_fd;
	s->lifeline_fd = lifeline_fd;
	keep_over_exec(lifeline_fd, false);
	s->old_spawner_fd = spawner_fd;
	keep_over_exec(spawner_fd, false);
	keep_over_exec(files, false);
	keep_over_exec(guard_fd, false);
	return true;
}

bool upgrade_was_rolled_back(const struct supervisor *s)
{
	return s->guard_fd == ROLLED_BACK;
}

static void renew_next(struct supervisor *s);

/* Has the trio under way become the new program? */
static void look(void *arg)
{
	struct supervisor *s = arg;
	struct trio *t = s->crews[s->renewing].trio;

	if (atomic_load(&t->renewals_failed) != s->renewals_failed) {
		log_error("%s: worker %u goes on with the old program: the new one has ended",
			  s->renew_why, s->renewing);
	} else if (s->loop.now_ms >= s->renew_deadline_ms) {
		log_error("%s: worker %u does not become the new program: back to the old one",
			  s->renew_why, s->renewing);
		if (atomic_load(&t->renew) != RENEW_NONE)
			kill(t->pid[atomic_load(&t->primary)], SIGKILL);
	} else if (atomic_load(&t->renewals) == s->renewals) {
		timer_set(&s->loop, &s->renew_timer, s->loop.now_ms + LOOK_MS, look, s);
		return;
	} else {
		s->n_renewed++;
	}
	s->renewing++;
	renew_next(s);
}

static void done(struct supervisor *s)
{
	char *text = mem_printf("version %s serves, %u of %u workers run it", TCPPROXY_VERSION,
				s->n_renewed, s->n_crews);

	log_info("%s: done: %s", s->renew_why, text);
	if (strcmp(s->renew_why, "upgrade") == 0)
		admin_upgrade_over(s, true, text);
	free(text);
}

static void renew_next(struct supervisor *s)
{
	struct wire w = {.type = WIRE_RENEW};
	struct crew *c;
	int fd;

	if (s->renewing >= s->n_crews) {
		done(s);
		return;
	}
	c = &s->crews[s->renewing];
	if (atomic_load(&c->trio->confined)) {
		log_error("%s: worker %u goes on with the old program: both its keepers had died at once, and those "
			  "that a worker starts may execute none",
			  s->renew_why, s->renewing);
		s->renewing++;
		renew_next(s);
		return;
	}
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	s->renewals = atomic_load(&c->trio->renewals);
	s->renewals_failed = atomic_load(&c->trio->renewals_failed);
	s->renew_deadline_ms = s->loop.now_ms + RENEW_LIMIT_MS;
	if (fd >= 0)
		crew_send(c, &w, &fd, 1);
	if (fd >= 0)
		close(fd);
	timer_set(&s->loop, &s->renew_timer, s->loop.now_ms + LOOK_MS, look, s);
}

void upgrade_taken_over(struct supervisor *s)
{
	if (upgrade_was_rolled_back(s))
		upgrade_failed(s, "%s ended before it was ready: the old program goes on, as process %d",
			  s->setup->binary, (int)getpid());
	if (s->guard_fd < 0)
		return;
	upgrade_release_guard(s);
	upgrade_workers(s, "upgrade");
}

static void tell_guard(struct supervisor *s, char word)
{
	if (s->guard_fd < 0)
		return;
	if (write(s->guard_fd, &word, 1) < 0)
		log_warning("upgrade: the guard is gone");
	close(s->guard_fd);
	s->guard_fd = -1;
}

void upgrade_release_guard(struct supervisor *s)
{
	tell_guard(s, GO);
}

bool upgrade_leave_reader(struct supervisor *s)
{
	if (s->guard_fd < 0)
		return false;
	tell_guard(s, READ_ON);
	s->renew_why = "upgrade";
	s->n_renewed = s->n_crews;
	done(s);
	return true;
}

void upgrade_workers(struct supervisor *s, const char *why)
{
	s->renew_why = why;
	s->n_renewed = 0;
	s->renewing = 0;
	renew_next(s);
}
