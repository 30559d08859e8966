#include "spawner/checking.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "os/sock.h"
#include "program/check_question.h"
#include "program/contract.h"
#include "program/run.h"
#include "spawner/entries.h"
#include "spawner/spawner_parts.h"

#define QUESTIONS_PER_TURN 16

/* One program. */
struct check_job {
	struct check_job *next, **link;
	struct spawner *spawner;
	struct check_reply reply;
	struct program_entry *entry;
	char *label;
	struct timer limit;
	struct run run;
	struct watch output; /* the read end of its stdout; fd -1: closed */
	size_t len;          /* of reply.line */
	bool line_over, answered, running;
};

/* ---- answers ---- */

/* Without room for it nothing is lost: the checker asks again. */
static void reply(struct spawner *s, const struct check_reply *r)
{
	if (s->checking.fd >= 0)
		sock_send_message(s->checking.fd, r, sizeof(*r), NULL, 0);
}

static void answer(struct check_job *j, enum check_kind kind, int status)
{
	if (j->answered)
		return;
	j->answered = true;
	j->reply.kind = kind;
	j->reply.status = status;
	j->reply.line[utf8_clean_line(j->reply.line, j->len)] = '\0';
	reply(j->spawner, &j->reply);
}

/* ---- its stdout ---- */

static void close_output(struct check_job *j)
{
	int fd = j->output.fd;

	if (fd < 0)
		return;
	watch_remove(j->spawner->setup.loop, &j->output);
	close(fd);
	j->output.fd = -1;
}

/* Its first line is kept, the rest is read for it not to wait. */
static void keep_line(struct check_job *j, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n && !j->line_over && j->len < sizeof(j->reply.line) - 1; i++) {
		j->line_over = bytes[i] == '\n';
		if (!j->line_over)
			j->reply.line[j->len++] = bytes[i];
	}
}

static void check_output_event(void *arg, uint32_t events)
{
	struct check_job *j = arg;
	char bytes[4096];

	(void)events;
	for (int turn = 0; turn < 16; turn++) {
		ssize_t n = read(j->output.fd, bytes, sizeof(bytes));

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			close_output(j);
			return;
		}
		progress();
		keep_line(j, bytes, (size_t)n);
	}
}

/* ---- its life ---- */

static void check_job_free(struct check_job *j)
{
	close_output(j);
	timer_clear(j->spawner->setup.loop, &j->limit);
	run_release(&j->run);
	*j->link = j->next;
	if (j->next)
		j->next->link = j->link;
	free(j->label);
	free(j);
}

static void check_not_run(struct check_job *j, int error)
{
	log_error("cannot start %s: %s", j->label, strerror(error));
	entry_failed(j->spawner->programs, PROGRAM_CHECK);
	answer(j, CHECK_NOT_RUN, error);
}

static void check_job_event(void *arg, enum run_event event, int value)
{
	struct check_job *j = arg;

	switch (event) {
	case RUN_STARTED:
		break;
	case RUN_FAILED:
		check_not_run(j, value);
		break;
	case RUN_EXITED:
		if (j->output.fd >= 0)
			check_output_event(j, 0);
		if (WIFSIGNALED(value) && !j->answered)
			entry_failed(j->spawner->programs, PROGRAM_CHECK);
		answer(j, CHECK_RAN, value);
		break;
	case RUN_ENDED:
		entry_give_back(j->entry);
		j->spawner->running--;
		j->spawner->ended(j->spawner);
		break;
	case RUN_FINISHED:
		check_job_free(j);
		break;
	}
}

static void check_job_late(void *arg)
{
	struct check_job *j = arg;

	if (!j->answered)
		entry_failed(j->spawner->programs, PROGRAM_CHECK);
	answer(j, CHECK_RAN, -1);
	run_end(&j->run, 0);
}

static int start(struct check_job *j, const struct check_question *q, const struct section *section)
{
	struct spawner *s = j->spawner;
	const struct program_check check = {
	        .server = &section->servers[q->server], .port = q->port, .at = q->at, .state = q->state};
	struct spawn what = {
	        .argv = section->checks[q->line].program, .nofile = s->setup.nofile, .umask = s->setup.umask};
	int out[2], rc;
	char **env;

	j->entry = entry_take(s->programs, PROGRAM_CHECK, 0, clock_mono_ms() + q->timeout_ms);
	if (!j->entry)
		return -EAGAIN;
	what.pid_word = &j->entry->pid;
	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	env = program_check_env(section, &check, environ);
	what.env = env;
	what.fds[0] = s->null_fd;
	what.fds[1] = out[1];
	rc = run_start(&j->run, s->setup.loop, &what, j->label, check_job_event, j);
	program_env_free(env);
	close(out[1]);
	if (rc == 0)
		rc = watch_add(s->setup.loop, &j->output, out[0], EPOLLIN, check_output_event, j);
	if (rc < 0) {
		close(out[0]);
		run_end(&j->run, 0);
	}
	return rc;
}

static struct check_job *check_job_new(struct spawner *s, uint64_t serial, const char *program, const char *server)
{
	struct check_job *j = mem_alloc(sizeof(*j));

	j->spawner = s;
	j->output.fd = -1;
	j->reply.serial = serial;
	j->label = mem_printf("check program %s for %s", program, server);
	j->next = s->checking.jobs;
	j->link = &s->checking.jobs;
	if (j->next)
		j->next->link = &j->next;
	s->checking.jobs = j;
	return j;
}

static const struct section *section_of(const struct generation *g, const struct check_question *q)
{
	const struct section *section = q->section < g->config->n_sections ? &g->config->sections[q->section] : NULL;

	return section && q->server < section->n_servers && q->line < section->n_checks &&
	                       section->checks[q->line].program
	               ? section
	               : NULL;
}

static void take_check(struct spawner *s, const struct check_question *q)
{
	struct generation *g = generation_get(s->generations, q->generation);
	const struct section *section = g ? section_of(g, q) : NULL;
	struct check_job *j;
	int rc;

	if (!section || s->stopping) {
		reply(s, &(struct check_reply){.serial = q->serial, .kind = CHECK_STALE});
		generation_put(g);
		return;
	}
	j = check_job_new(s, q->serial, section->checks[q->line].program[0],
	                  server_label(&section->servers[q->server]));
	rc = start(j, q, section);
	generation_put(g);
	if (rc < 0) {
		check_not_run(j, -rc);
		entry_give_back(j->entry);
		check_job_free(j);
		return;
	}
	s->running++;
	timer_set(s->setup.loop, &j->limit, clock_mono_ms() + q->timeout_ms, check_job_late, j);
}

/* ---- the channel ---- */

/* Nobody wants to know any more. */
static void end_all(struct spawner *s)
{
	for (struct check_job *j = s->checking.jobs; j; j = j->next) {
		j->answered = true;
		run_end(&j->run, 0);
	}
}

static void close_channel(struct spawner *s)
{
	int fd = s->checking.fd;

	if (fd < 0)
		return;
	watch_remove(s->setup.loop, &s->checking.watch);
	close(fd);
	s->checking.fd = -1;
	end_all(s);
}

static void checking_event(void *arg, uint32_t events)
{
	struct spawner *s = arg;

	(void)events;
	for (int i = 0; i < QUESTIONS_PER_TURN; i++) {
		struct check_question q;
		int n = sock_recv_message(s->checking.fd, &q, sizeof(q), NULL, NULL);

		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n != sizeof(q)) {
			close_channel(s);
			return;
		}
		take_check(s, &q);
	}
}

int checking_channel(struct spawner *s, int fd)
{
	int rc;

	close_channel(s);
	rc = watch_add(s->setup.loop, &s->checking.watch, fd, EPOLLIN, checking_event, s);
	if (rc < 0)
		close(fd);
	else
		s->checking.fd = fd;
	return rc;
}

void checking_stop(struct spawner *s)
{
	close_channel(s);
}

void checking_release(struct spawner *s)
{
	while (s->checking.jobs)
		check_job_free(s->checking.jobs);
	close_channel(s);
}
