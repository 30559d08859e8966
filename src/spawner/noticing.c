#include "spawner/noticing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/sock.h"
#include "program/notice.h"
#include "program/run.h"
#include "spawner/entries.h"
#include "spawner/left.h"
#include "spawner/spawner_parts.h"

#define QUESTIONS_PER_TURN 16

/* One program. */
struct notice_job {
	struct notice_job *next, **link;
	struct spawner *spawner;
	struct program_entry *entry; /* NULL: it waits for another one of its server */
	char *message;
	struct notice notice; /* points into it */
	struct timer limit;
	struct run run;
	bool ended, late;
};

/* ---- answers ---- */

/* Without room for it nothing is lost but that: a supervisor that hears nothing asks again when we are dead. */
static void tell(const struct notice_job *j, enum notice_event event)
{
	const struct notice_reply r = {.serial = j->notice.question.serial, .event = event};

	if (j->spawner->noticing.fd >= 0)
		sock_send_message(j->spawner->noticing.fd, &r, sizeof(r), NULL, 0);
}

/* ---- its life ---- */

static void notice_job_free(struct notice_job *j)
{
	timer_clear(j->spawner->setup.loop, &j->limit);
	run_release(&j->run);
	notice_release(&j->notice);
	*j->link = j->next;
	if (j->next)
		j->next->link = j->link;
	free(j->message);
	free(j);
}

static void not_started(struct notice_job *j, int error)
{
	log_error("cannot start %s: %s", j->notice.label, strerror(error));
	entry_failed(j->spawner->programs, PROGRAM_NOTIFY);
}

static void notice_exited(const struct notice_job *j, int status)
{
	if (status == 0)
		return;
	entry_failed(j->spawner->programs, PROGRAM_NOTIFY);
	if (j->late)
		return; /* that was said */
	if (WIFSIGNALED(status))
		log_warning("%s: ended by signal %d (%s)", j->notice.label, WTERMSIG(status),
		            strsignal(WTERMSIG(status)));
	else
		log_warning("%s: exit status %d", j->notice.label, WEXITSTATUS(status));
}

static void notice_ended(struct notice_job *j)
{
	struct spawner *s = j->spawner;

	j->ended = true;
	timer_clear(s->setup.loop, &j->limit);
	entry_give_back(j->entry);
	tell(j, NOTICE_ENDED);
	s->running--;
	s->ended(s);
}

static void notice_job_event(void *arg, enum run_event event, int value)
{
	struct notice_job *j = arg;

	switch (event) {
	case RUN_STARTED:
		tell(j, NOTICE_STARTED);
		break;
	case RUN_FAILED:
		not_started(j, value);
		break;
	case RUN_EXITED:
		notice_exited(j, value);
		break;
	case RUN_ENDED:
		notice_ended(j);
		break;
	case RUN_FINISHED:
		notice_job_free(j);
		break;
	}
}

static void notice_job_late(void *arg)
{
	struct notice_job *j = arg;

	log_warning("%s: has not ended within %g s, and is ended", j->notice.label,
	            (double)j->notice.question.timeout_ms / 1000);
	j->late = true;
	run_end(&j->run, 0);
}

static int start(struct notice_job *j)
{
	struct spawner *s = j->spawner;
	struct spawn what = {.argv = j->notice.argv,
	                     .env = j->notice.env,
	                     .fds = {s->null_fd, SPAWN_AS_STDERR, -1},
	                     .nofile = s->setup.nofile,
	                     .umask = s->setup.umask,
	                     .pid_word = &j->entry->pid};
	int rc = run_start(&j->run, s->setup.loop, &what, j->notice.label, notice_job_event, j);

	if (rc == 0 && s->setup.keep_stderr)
		s->setup.keep_stderr(s->setup.arg, j->run.lines.watch.fd, j->notice.label);
	return rc;
}

/* False: it cannot be now. */
static bool begin(struct notice_job *j)
{
	struct spawner *s = j->spawner;
	const struct notice_question *q = &j->notice.question;
	int64_t until_ms = clock_mono_ms() + q->timeout_ms;
	int rc;

	j->entry = entry_take(s->programs, PROGRAM_NOTIFY, q->key, until_ms);
	if (!j->entry)
		return false;
	rc = start(j);
	if (rc < 0) {
		not_started(j, -rc);
		entry_give_back(j->entry);
		tell(j, NOTICE_ENDED);
		notice_job_free(j);
		return true;
	}
	s->running++;
	timer_set(s->setup.loop, &j->limit, until_ms, notice_job_late, j);
	return true;
}

static bool runs(const struct spawner *s, uint64_t key)
{
	for (const struct notice_job *j = s->noticing.jobs; j; j = j->next)
		if (j->entry && !j->ended && j->notice.question.key == key)
			return true;
	return left_runs(s, key);
}

void noticing_go_on(struct spawner *s)
{
	for (struct notice_job *j = s->noticing.jobs, *next; j; j = next) {
		next = j->next;
		if (!j->entry && !s->stopping && !runs(s, j->notice.question.key) && !begin(j))
			return;
	}
}

static void take_notice(struct spawner *s, const char *message, size_t len)
{
	struct notice_job *j = mem_alloc(sizeof(*j));

	*j = (struct notice_job){.spawner = s, .message = mem_alloc(len + 1)};
	memcpy(j->message, message, len);
	if (s->stopping || !notice_unpack(j->message, len, &j->notice)) {
		free(j->message);
		free(j);
		return;
	}
	j->next = s->noticing.jobs;
	j->link = &s->noticing.jobs;
	if (j->next)
		j->next->link = &j->next;
	s->noticing.jobs = j;
	noticing_go_on(s);
}

/* ---- the channel ---- */

/* What was not begun will be asked again. */
static void drop_waiting(struct spawner *s)
{
	for (struct notice_job *j = s->noticing.jobs, *next; j; j = next) {
		next = j->next;
		if (!j->entry)
			notice_job_free(j);
	}
}

static void close_channel(struct spawner *s)
{
	int fd = s->noticing.fd;

	if (fd < 0)
		return;
	watch_remove(s->setup.loop, &s->noticing.watch);
	close(fd);
	s->noticing.fd = -1;
	drop_waiting(s);
}

static void noticing_event(void *arg, uint32_t events)
{
	struct spawner *s = arg;
	static char message[NOTICE_SIZE_MAX];

	(void)events;
	for (int i = 0; i < QUESTIONS_PER_TURN; i++) {
		int n = sock_recv_message(s->noticing.fd, message, sizeof(message), NULL, NULL);

		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n <= 0) {
			close_channel(s);
			return;
		}
		take_notice(s, message, (size_t)n);
	}
}

int noticing_channel(struct spawner *s, int fd)
{
	int rc;

	close_channel(s);
	rc = watch_add(s->setup.loop, &s->noticing.watch, fd, EPOLLIN, noticing_event, s);
	if (rc < 0)
		close(fd);
	else
		s->noticing.fd = fd;
	return rc;
}

void noticing_stop(struct spawner *s)
{
	close_channel(s);
	for (struct notice_job *j = s->noticing.jobs; j; j = j->next) {
		j->late = true;
		if (j->entry)
			run_end(&j->run, SPAWNER_KILL_AFTER_MS);
	}
}

void noticing_release(struct spawner *s)
{
	while (s->noticing.jobs)
		notice_job_free(s->noticing.jobs);
	close_channel(s);
}
