#include "program/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "os/proc.h"

#define TICK_MS   20
#define KILLED_MS 500 /* a killed group is given this time to disappear */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- the way out: ended, then finished ---- */

static void finish_if_done(struct run *r)
{
	if (!r->ended || lines_open(&r->lines))
		return;
	timer_clear(r->loop, &r->drain);
	r->fn(r->arg, RUN_FINISHED, 0);
}

static void drain_over(void *arg)
{
	struct run *r = arg;

	lines_stop(&r->lines);
	finish_if_done(r);
}

static void lines_over(void *arg)
{
	finish_if_done(arg);
}

static void set_ended(struct run *r)
{
	timer_clear(r->loop, &r->tick);
	r->ended = true;
	r->fn(r->arg, RUN_ENDED, 0);
	if (lines_open(&r->lines) && r->stderr_ms > 0)
		timer_set(r->loop, &r->drain, clock_mono_ms() + r->stderr_ms, drain_over, r);
	finish_if_done(r);
}

/* ---- ending it ---- */

/* Looks after a program that was told to end: its leader may be gone while children of it go on. */
static void ending_tick(void *arg)
{
	struct run *r = arg;
	int64_t now = clock_mono_ms();

	if (r->exited && spawn_signal(&r->process, 0) < 0) {
		set_ended(r);
		return;
	}
	if (now >= r->kill_at_ms) {
		spawn_signal(&r->process, SIGKILL);
		if (r->exited && now >= r->kill_at_ms + KILLED_MS) {
			set_ended(r);
			return;
		}
	}
	timer_set(r->loop, &r->tick, now + TICK_MS, ending_tick, r);
}

void run_end(struct run *r, int64_t grace_ms)
{
	int64_t now = clock_mono_ms();

	if (r->ended || r->process.pidfd < 0)
		return;
	if (grace_ms == 0) {
		spawn_signal(&r->process, SIGKILL);
	} else if (!r->ending) {
		spawn_signal(&r->process, SIGTERM);
		spawn_signal(&r->process, SIGCONT); /* a stopped one would not hear it */
	}
	if (!r->ending || now + grace_ms < r->kill_at_ms)
		r->kill_at_ms = now + grace_ms;
	r->ending = true;
	timer_set(r->loop, &r->tick, now + TICK_MS, ending_tick, r);
}

/* ---- what the kernel tells ---- */

static void take_exec_result(struct run *r)
{
	int fd = r->exec.fd, err;

	if (r->told)
		return;
	err = spawn_exec_result(fd);
	if (err == -EAGAIN)
		return;
	watch_remove(r->loop, &r->exec);
	close_fd(&r->process.exec_fd);
	r->told = true;
	r->failed = err > 0;
	r->fn(r->arg, r->failed ? RUN_FAILED : RUN_STARTED, err);
}

static void on_exec(void *arg, uint32_t events)
{
	take_exec_result(arg);
}

static void on_exit(void *arg, uint32_t events)
{
	struct run *r = arg;
	int status;

	if (spawn_reap(&r->process, &status) < 0)
		return;
	/* Both may be ready in one turn, in either order: the start is told before the end. */
	take_exec_result(r);
	watch_remove(r->loop, &r->exit);
	r->exited = true;
	lines_drain(&r->lines); /* what it said comes before what became of it */
	if (!r->failed)
		r->fn(r->arg, RUN_EXITED, status);
	if (r->ending)
		ending_tick(r);
	else
		set_ended(r);
}

/* ---- start and release ---- */

static int watch_process(struct run *r)
{
	int rc = watch_add(r->loop, &r->exec, r->process.exec_fd, EPOLLIN, on_exec, r);

	if (rc == 0)
		rc = watch_add(r->loop, &r->exit, r->process.pidfd, EPOLLIN, on_exit, r);
	if (rc < 0) {
		int status;

		/* Its end would go unnoticed, so it must not begin. */
		spawn_signal(&r->process, SIGKILL);
		waitpid(r->process.pid, &status, 0);
	}
	return rc;
}

int run_start(struct run *r, struct loop *loop, struct spawn *what, const char *label, run_fn *fn, void *arg)
{
	int pipefd[2], rc;

	*r = (struct run){.loop = loop, .fn = fn, .arg = arg, .label = label};
	r->process = (struct spawned){.pidfd = -1, .exec_fd = -1};
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return -errno;
	fcntl(pipefd[0], F_SETFL, O_NONBLOCK);
	what->fds[2] = pipefd[1];
	if (what->fds[1] == SPAWN_AS_STDERR)
		what->fds[1] = pipefd[1];
	rc = lines_start(&r->lines, loop, pipefd[0], LOG_LEVEL_INFO, label, lines_over, r);
	if (rc == 0)
		rc = spawn_program(what, &r->process);
	close(pipefd[1]);
	return rc < 0 ? rc : watch_process(r);
}

int run_adopt(struct run *r, struct loop *loop, pid_t pid, const char *label, run_fn *fn, void *arg)
{
	int pidfd = proc_pidfd(pid);
	int rc;

	if (pidfd < 0)
		return pidfd;
	/* the number pinned, is it still a program that was started for us? */
	if (getsid(pid) != pid) {
		close(pidfd);
		return -ESRCH;
	}
	*r = (struct run){.loop = loop, .fn = fn, .arg = arg, .label = label, .told = true};
	r->process = (struct spawned){.pid = pid, .pidfd = pidfd, .exec_fd = -1};
	rc = watch_add(loop, &r->exit, pidfd, EPOLLIN, on_exit, r);
	if (rc < 0)
		run_release(r);
	return rc;
}

void run_release(struct run *r)
{
	if (!r->loop)
		return;
	timer_clear(r->loop, &r->tick);
	timer_clear(r->loop, &r->drain);
	watch_remove(r->loop, &r->exec);
	watch_remove(r->loop, &r->exit);
	lines_stop(&r->lines);
	close_fd(&r->process.exec_fd);
	close_fd(&r->process.pidfd);
	r->loop = NULL;
}
