#include "spawner/job.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "program/contract.h"
#include "spawner/entries.h"
#include "spawner/spawner_parts.h"
#include "takeover/said.h"

#define NAME_TIMEOUT_MS 5000

/* ---- birth and death ---- */

static struct job *job_new(struct channel *ch, const struct question *q, const int *fds, size_t n_fds)
{
	struct job *j = mem_alloc(sizeof(*j));

	j->spawner = ch->spawner;
	j->channel = ch;
	j->question = *q;
	j->fds[0] = n_fds > 0 ? fds[0] : -1;
	j->fds[1] = n_fds > 1 ? fds[1] : -1;
	j->next = ch->spawner->jobs;
	j->link = &ch->spawner->jobs;
	if (j->next)
		j->next->link = &j->next;
	ch->spawner->jobs = j;
	ch->by_row[q->row] = j;
	return j;
}

static void close_fds(struct job *j)
{
	for (int i = 0; i < 2; i++) {
		if (j->fds[i] >= 0)
			close(j->fds[i]);
		j->fds[i] = -1;
	}
}

static void stop_naming(struct job *j)
{
	if (j->naming)
		resolve_cancel(j->spawner->setup.resolver, j);
	j->naming = false;
}

/* What is needed only until the program runs. */
static void drop_start(struct job *j)
{
	stop_naming(j);
	close_fds(j);
	generation_put(j->generation);
	j->generation = NULL;
	j->section = NULL;
}

void job_free(struct job *j)
{
	drop_start(j);
	free(j->announced);
	timer_clear(j->spawner->setup.loop, &j->limit);
	run_release(&j->run);
	if (j->channel && j->channel->by_row[j->question.row] == j)
		j->channel->by_row[j->question.row] = NULL;
	*j->link = j->next;
	if (j->next)
		j->next->link = j->link;
	free(j->path);
	free(j->label);
	free(j);
}

void job_settle(struct job *j)
{
	if (!j->naming && !j->running && !j->queued)
		job_free(j);
}

/* ---- the answer ---- */

/* The slot, as long as it is still about this question. */
static struct question_slot *job_slot(const struct job *j)
{
	struct question_slot *slot;

	if (!j->channel)
		return NULL;
	slot = &j->channel->slots[j->question.row];
	return __atomic_load_n(&slot->serial, __ATOMIC_ACQUIRE) == j->question.serial ? slot : NULL;
}

static void answer(struct job *j, enum answer_kind kind, int status)
{
	struct question_slot *slot = job_slot(j);

	if (!j->channel || j->answered)
		return;
	j->answered = true;
	timer_clear(j->spawner->setup.loop, &j->limit);
	if (slot) {
		slot->status = status;
		__atomic_store_n(&slot->answered, (uint32_t)kind, __ATOMIC_RELEASE);
	}
	j->answer = (struct answer){
	        .kind = kind,
	        .row = j->question.row,
	        .serial = j->question.serial,
	        .status = status,
	};
	j->spawner->answer(j->channel, j);
}

/* What to do about an errno of execve() that does not say it by itself. */
static const char *exec_hint(int err, const char *path)
{
	switch (err) {
	case ENOENT:
		return access(path, F_OK) == 0 ? " (its interpreter is missing)" : "";
	case EACCES:
		return " (may the service user execute it?)";
	case ENOEXEC:
		return " (does a script lack its #! line?)";
	case EMFILE:
	case ENFILE:
		return " (raise the limit of open files)";
	default:
		return "";
	}
}

static void count_failure(const struct job *j)
{
	if (j->question.kind == ASK_ACCESS)
		entry_failed(j->spawner->programs, PROGRAM_ACP);
}

static void fail(struct job *j, int err)
{
	count_failure(j);
	log_error("cannot start %s: %s%s", j->label, strerror(err), exec_hint(err, j->path));
	answer(j, ANSWER_FAILED, err);
}

/* ---- while it runs ---- */

static const char *describe_status(int status, char buf[64])
{
	if (WIFSIGNALED(status))
		snprintf(buf, 64, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(buf, 64, "exit status %d", WEXITSTATUS(status));
	return buf;
}

static void on_exited(struct job *j, int status)
{
	char buf[64];

	if (j->question.kind == ASK_ACCESS) {
		bool granted = WIFEXITED(status) && WEXITSTATUS(status) == 0;

		if (WIFSIGNALED(status) && !j->ended_by_us)
			count_failure(j);
		if (!granted && !j->ended_by_us)
			log_info("%s: denied, %s", j->label, describe_status(status, buf));
		answer(j, granted ? ANSWER_GRANTED : ANSWER_DENIED, status);
	} else if (WIFSIGNALED(status) && !j->ended_by_us) {
		log_info("%s: ended by %s", j->label, describe_status(status, buf));
	}
}

static void on_run(void *arg, enum run_event event, int value)
{
	struct job *j = arg;

	switch (event) {
	case RUN_STARTED:
		if (j->question.kind == ASK_HANDLER)
			answer(j, ANSWER_STARTED, 0);
		break;
	case RUN_FAILED:
		fail(j, value);
		break;
	case RUN_EXITED:
		on_exited(j, value);
		break;
	case RUN_ENDED:
		j->spawner->running--;
		j->spawner->ended(j->spawner);
		break;
	case RUN_FINISHED:
		j->running = false;
		job_settle(j);
		break;
	}
}

static void job_on_limit(void *arg)
{
	struct job *j = arg;

	log_info("%s: denied, no answer within %g s", j->label, (double)j->timeout_ms / 1000);
	count_failure(j);
	j->ended_by_us = true;
	if (j->running)
		run_end(&j->run, 0);
	drop_start(j);
	/* It is answered now: even KILL does not reach a process that waits for a dead disk. */
	answer(j, ANSWER_DENIED, SIGKILL);
	job_settle(j);
}

/* ---- starting it ---- */

/* What the client has said first stands with its row, which is this question's as long as its slot is. */
struct said_texts {
	char sni[PROXY_VALUE_TEXT_MAX], alpn[PROXY_VALUE_TEXT_MAX], protocol[SAID_WORD_MAX];
};

static void look_at_said(const struct job *j, struct said_texts *said)
{
	const struct trio *t = j->channel ? j->channel->trio : NULL;
	uint32_t row = j->question.row;

	*said = (struct said_texts){.sni = "", .alpn = "", .protocol = ""};
	if (!t)
		return;
	said_sni(t, row, trio_cold(t, row), said->sni);
	said_alpn(t, row, trio_cold(t, row), said->alpn);
	said_protocol(trio_cold(t, row), said->protocol);
}

static void fill_env(const struct job *j, const char *name, const struct said_texts *said, const char *ports,
                     struct program_client *ret)
{
	const struct question *q = &j->question;
	bool chosen = q->kind == ASK_ACCESS && q->server != UINT32_MAX;

	*ret = (struct program_client){
	        .local = q->local,
	        .client = q->client,
	        .name = name,
	        .announced = j->announced,
	        .sni = said->sni,
	        .alpn = said->alpn,
	        .protocol = said->protocol,
	        .ports = ports,
	        .server = chosen ? &j->section->servers[q->server] : NULL,
	};
}

static int start(struct job *j, const char *name, struct question_slot *slot)
{
	const struct question *q = &j->question;
	struct spawner *s = j->spawner;
	bool handler = q->kind == ASK_HANDLER;
	struct program_client client;
	struct said_texts said;
	struct buf ports = BUF_INIT;
	struct spawn what = {
	        .argv = handler ? j->section->servers[q->server].argv : j->section->acp,
	        .nofile = s->setup.nofile,
	        .umask = s->setup.umask,
	        .pid_word = &slot->pid,
	};
	char **env;
	int rc;

	what.fds[0] = handler ? j->fds[0] : s->null_fd;
	what.fds[1] = j->fds[1] >= 0 ? j->fds[1] : j->fds[0];
	look_at_said(j, &said);
	service_ports(&j->generation->config->services[j->section->service], &ports);
	fill_env(j, name, &said, ports.s, &client);
	env = program_env(j->section, &client, environ);
	buf_release(&ports);
	what.env = env;
	slot->starter = getpid();
	rc = run_start(&j->run, s->setup.loop, &what, j->label, on_run, j);
	program_env_free(env);
	if (rc == 0 && s->setup.keep_stderr)
		s->setup.keep_stderr(s->setup.arg, j->run.lines.watch.fd, j->label);
	return rc;
}

/* The name is known, or will never be: on with it, unless the question was overtaken meanwhile. */
static void on_name(void *arg, const char *name)
{
	struct job *j = arg;
	struct question_slot *slot = job_slot(j);
	int rc;

	j->naming = false;
	if (slot && __atomic_load_n(&slot->pid, __ATOMIC_ACQUIRE) == 0) {
		snprintf(slot->name, sizeof(slot->name), "%s", name);
		rc = start(j, name, slot);
		j->running = rc == 0;
		if (rc == 0)
			j->spawner->running++;
		else
			fail(j, -rc);
	}
	drop_start(j);
	job_settle(j);
}

static void find_name(struct job *j)
{
	struct spawner *s = j->spawner;

	j->naming = true;
	if (j->section->numeric || !s->setup.resolver)
		on_name(j, "");
	else
		resolve_client(s->setup.resolver, &j->question.client, NAME_TIMEOUT_MS, on_name, j);
}

/* The program that the question means, or NULL. */
static const char *find_path(const struct job *j)
{
	const struct question *q = &j->question;
	const struct config *c = j->generation->config;
	const struct section *s;

	if (q->section >= c->n_sections)
		return NULL;
	s = &c->sections[q->section];
	if (q->kind == ASK_HANDLER)
		return q->server < s->n_servers && s->servers[q->server].kind == SERVER_PROGRAM
		               ? s->servers[q->server].argv[0]
		               : NULL;
	return s->acp && (q->server < s->n_servers || q->server == UINT32_MAX) ? s->acp[0] : NULL;
}

/* Finds what the question is about. Returns 0, or the errno that answers it. */
static int understand(struct job *j)
{
	bool handler = j->question.kind == ASK_HANDLER;
	char client[ADDR_TEXT_MAX];
	const char *path = find_path(j);

	addr_format_port(&j->question.client, client);
	j->path = mem_strdup(path ? path : "");
	j->label = mem_printf("%s %s for %s id=%" PRIu64, handler ? "handler" : "access program",
	                      path ? path : "that is not configured", client, j->question.id);
	if (!path)
		return EINVAL;
	j->section = &j->generation->config->sections[j->question.section];
	j->timeout_ms = handler ? 0 : j->section->acp_timeout_ms;
	return 0;
}

void job_begin(struct channel *ch, const struct question *q, const struct question_announced *announced, const int *fds,
               size_t n_fds, int error)
{
	struct job *j = job_new(ch, q, fds, n_fds);
	struct loop *loop = j->spawner->setup.loop;

	if (announced) {
		j->announced = mem_alloc(sizeof(*announced));
		*j->announced = *announced;
	}

	j->generation = generation_get(j->spawner->generations, q->generation);
	if (j->spawner->stopping) {
		answer(j, ANSWER_FAILED, ESHUTDOWN);
	} else if (!j->generation) {
		answer(j, ANSWER_STALE, 0);
	} else {
		int err = understand(j);

		if (err || error) {
			fail(j, err ? err : error);
		} else {
			if (j->timeout_ms > 0)
				timer_set(loop, &j->limit, clock_mono_ms() + j->timeout_ms, job_on_limit, j);
			find_name(j);
			return; /* it may be gone already */
		}
	}
	drop_start(j);
	job_settle(j);
}

struct job *job_adopt(struct channel *ch, uint32_t row)
{
	const volatile struct question_slot *slot = &ch->slots[row];
	struct question q = {.kind = ASK_HANDLER, .row = row, .serial = slot->serial};
	pid_t pid = slot->pid;
	struct job *j;

	if (entry_is_one_of_us(pid))
		return NULL;
	j = job_new(ch, &q, NULL, 0);
	j->answered = true;
	j->path = mem_strdup("");
	j->label = mem_printf("program %d of another spawner", pid);
	if (run_adopt(&j->run, j->spawner->setup.loop, pid, j->label, on_run, j) < 0) {
		job_free(j);
		return NULL;
	}
	j->running = true;
	j->spawner->running++;
	return j;
}

/* ---- ending it ---- */

void job_end(struct job *j)
{
	j->ended_by_us = true;
	if (j->running) {
		run_end(&j->run, SPAWNER_KILL_AFTER_MS);
	} else if (j->naming) {
		drop_start(j);
		answer(j, ANSWER_FAILED, ECANCELED);
		job_settle(j);
	}
}

void job_orphan(struct job *j)
{
	timer_clear(j->spawner->setup.loop, &j->limit);
	if (j->channel->by_row[j->question.row] == j)
		j->channel->by_row[j->question.row] = NULL;
	j->channel = NULL;
	j->queued = false;
	drop_start(j);
	if (j->running && j->question.kind == ASK_ACCESS) {
		j->ended_by_us = true;
		run_end(&j->run, 0);
	}
	job_settle(j);
}
