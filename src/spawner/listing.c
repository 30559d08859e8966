#include "spawner/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "config/lex.h"
#include "program/contract.h"
#include "program/run.h"
#include "spawner/entries.h"
#include "spawner/list_text.h"
#include "spawner/spawner_parts.h"

#define LIST_BYTES_MAX ((size_t)4 << 20)
#define FIRST_PAUSE_MS 1000 /* until it is started again: 1, 2, 4 ... 30 s */
#define LONG_PAUSE_MS  30000
#define GOOD_LIFE_MS   30000 /* who has run so long is begun with the first again */
#define READS_AT_END   256   /* more than a pipe holds */
#define TOGETHER_MS    100   /* lists that come faster than that are not all taken, and their program has to wait */

/* A line of the configuration. */
struct list_program {
	struct list_program *next;
	struct spawner *spawner;
	char *line;  /* struct source: what it is known by */
	char **argv; /* owned, as env */
	char **env;
	char *label;
	struct list_run *now; /* NULL: it does not run */
	struct timer again;   /* it is to be started */
	struct timer later;   /* there is a list to be sent, or it is read on */
	struct buf list;      /* the last whole one that could not be sent yet */
	bool unsent, wanted;
	unsigned failures; /* in a row */
};

/* One process of it, which may outlive that. */
struct list_run {
	struct list_run *next, **link;
	struct spawner *spawner;
	struct list_program *of; /* NULL: it is not wanted any more */
	struct program_entry *entry;
	char *label;
	struct run run;
	struct watch output; /* the read end of its stdout; fd -1: closed */
	struct buf text;     /* of a list that is not whole yet */
	int64_t started_ms;
	bool paused;
};

static void begin(void *arg);
static void go_on(void *arg);

/* ---- what it prints ---- */

/* It is sent again as long as there is no room for it, unless a newer one takes its place. */
static void send_list(struct list_program *p)
{
	const struct spawner_setup *setup = &p->spawner->setup;

	if (!p->unsent)
		return;
	p->unsent = !setup->list(setup->arg, p->line, p->list.s, p->list.len);
	if (p->unsent && !p->later.place)
		timer_set(setup->loop, &p->later, setup->loop->now_ms + TOGETHER_MS, go_on, p);
}

static void close_output(struct list_run *r)
{
	int fd = r->output.fd;

	if (fd < 0)
		return;
	watch_remove(r->spawner->setup.loop, &r->output);
	close(fd);
	r->output.fd = -1;
}

static void pause_reading(struct list_run *r)
{
	struct loop *loop = r->spawner->setup.loop;

	if (r->output.fd < 0)
		return;
	r->paused = watch_change(loop, &r->output, 0) == 0;
	if (!r->of->later.place)
		timer_set(loop, &r->of->later, loop->now_ms + TOGETHER_MS, go_on, r->of);
}

static void too_long(struct list_run *r)
{
	log_error("%s: its list is longer than %zu MiB: it is ended, and the servers stay as they were", r->label,
	          LIST_BYTES_MAX >> 20);
	close_output(r);
	buf_release(&r->text);
	run_end(&r->run, 0);
}

/* False: there is nothing more now. */
static bool read_some(struct list_run *r, bool *whole)
{
	char bytes[16384];
	ssize_t n = r->output.fd < 0 ? 0 : read(r->output.fd, bytes, sizeof(bytes));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		close_output(r);
		return false;
	}
	progress();
	if (list_text_add(&r->text, bytes, (size_t)n, &r->of->list))
		*whole = r->of->unsent = true;
	if (r->text.len <= LIST_BYTES_MAX)
		return true;
	too_long(r);
	return false;
}

static void list_output_event(void *arg, uint32_t events)
{
	struct list_run *r = arg;
	bool whole = false;

	(void)events;
	for (int turn = 0; turn < 16 && !whole; turn++)
		if (!read_some(r, &whole))
			break;
	send_list(r->of);
	if (whole)
		pause_reading(r);
}

static void go_on(void *arg)
{
	struct list_program *p = arg;
	struct list_run *r = p->now;

	send_list(p);
	if (!r || !r->paused)
		return;
	r->paused = false;
	if (watch_change(p->spawner->setup.loop, &r->output, EPOLLIN) < 0)
		pause_reading(r);
}

/* ---- its life ---- */

static void start_again(struct list_program *p)
{
	struct loop *loop = p->spawner->setup.loop;
	unsigned n = p->failures++;
	int64_t pause_ms = n < 5 ? FIRST_PAUSE_MS << n : LONG_PAUSE_MS;

	entry_failed(p->spawner->programs, PROGRAM_SERVERS);
	log_info("%s is started again in %d s; meanwhile the servers stay as they were", p->label,
	         (int)(pause_ms / 1000));
	timer_set(loop, &p->again, loop->now_ms + pause_ms, begin, p);
}

static void list_run_free(struct list_run *r)
{
	close_output(r);
	buf_release(&r->text);
	entry_give_back(r->entry);
	run_release(&r->run);
	*r->link = r->next;
	if (r->next)
		r->next->link = r->link;
	free(r->label);
	free(r);
}

/* What it says, and what becomes of it, matters no more. */
static void let_go(struct list_run *r)
{
	close_output(r);
	if (r->of)
		r->of->now = NULL;
	r->of = NULL;
}

/* What it has printed to its end counts. */
static void exited(struct list_run *r, int status)
{
	struct list_program *p = r->of;
	bool whole = false;

	run_end(&r->run, SPAWNER_KILL_AFTER_MS); /* what it has left behind */
	if (!p)
		return;
	for (int i = 0; i < READS_AT_END && read_some(r, &whole);)
		i++;
	send_list(p);
	if (r->text.len > 0)
		log_warning("%s has ended in the middle of a list, which is dropped", r->label);
	if (WIFSIGNALED(status))
		log_warning("%s: ended by signal %d (%s)", r->label, WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		log_warning("%s: ended, exit status %d", r->label, WEXITSTATUS(status));
	if (r->spawner->setup.loop->now_ms - r->started_ms >= GOOD_LIFE_MS)
		p->failures = 0;
	let_go(r);
	start_again(p);
}

static void list_run_event(void *arg, enum run_event event, int value)
{
	struct list_run *r = arg;
	struct list_program *p = r->of;

	switch (event) {
	case RUN_STARTED:
		break;
	case RUN_FAILED:
		log_error("cannot start %s: %s", r->label, strerror(value));
		if (p) {
			let_go(r);
			start_again(p);
		}
		break;
	case RUN_EXITED:
		exited(r, value);
		break;
	case RUN_ENDED:
		entry_give_back(r->entry);
		r->entry = NULL;
		r->spawner->running--;
		r->spawner->ended(r->spawner);
		break;
	case RUN_FINISHED:
		list_run_free(r);
		break;
	}
}

static int start(struct list_run *r)
{
	struct list_program *p = r->of;
	struct spawner *s = p->spawner;
	struct spawn what = {.argv = p->argv,
	                     .env = p->env,
	                     .nofile = s->setup.nofile,
	                     .umask = s->setup.umask,
	                     .pid_word = &r->entry->pid};
	int out[2], rc;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	what.fds[0] = s->null_fd;
	what.fds[1] = out[1];
	rc = run_start(&r->run, s->setup.loop, &what, r->label, list_run_event, r);
	close(out[1]);
	if (rc == 0)
		rc = watch_add(s->setup.loop, &r->output, out[0], EPOLLIN, list_output_event, r);
	if (rc < 0) {
		close(out[0]);
		run_end(&r->run, 0);
	} else if (s->setup.keep_stderr) {
		s->setup.keep_stderr(s->setup.arg, r->run.lines.watch.fd, r->label);
	}
	return rc;
}

static struct list_run *list_run_new(struct list_program *p, struct program_entry *e)
{
	struct spawner *s = p->spawner;
	struct list_run *r = mem_alloc(sizeof(*r));

	*r = (struct list_run){
	        .next = s->listing.runs, .link = &s->listing.runs, .spawner = s, .of = p, .entry = e, .output.fd = -1};
	r->label = mem_strdup(p->label);
	r->started_ms = s->setup.loop->now_ms;
	if (r->next)
		r->next->link = &r->next;
	s->listing.runs = r;
	return r;
}

static void begin(void *arg)
{
	struct list_program *p = arg;
	struct spawner *s = p->spawner;
	struct program_entry *e = entry_take(s->programs, PROGRAM_SERVERS, 0, 0);
	struct list_run *r = e ? list_run_new(p, e) : NULL;
	int rc = r ? start(r) : -EAGAIN;

	if (rc == 0) {
		p->now = r;
		s->running++;
		return;
	}
	log_error("cannot start %s: %s", p->label, e ? strerror(-rc) : "too many programs run");
	if (r)
		list_run_free(r);
	start_again(p);
}

/* ---- which there are ---- */

static void list_program_free(struct list_program *p)
{
	struct loop *loop = p->spawner->setup.loop;

	timer_clear(loop, &p->again);
	timer_clear(loop, &p->later);
	words_free(p->argv);
	program_env_free(p->env);
	buf_release(&p->list);
	free(p->line);
	free(p->label);
	free(p);
}

static void end(struct list_program *p)
{
	struct list_run *r = p->now;

	if (r) {
		let_go(r);
		run_end(&r->run, SPAWNER_KILL_AFTER_MS);
	}
	list_program_free(p);
}

static bool same_words(char *const *a, char *const *b)
{
	while (*a && *b && strcmp(*a, *b) == 0)
		a++, b++;
	return !*a && !*b;
}

/* The program of this line, with this environment. env is taken over. */
static void want(struct spawner *s, const struct source *source, char **env)
{
	struct list_program *p = s->listing.programs;

	while (p && strcmp(p->line, source->line) != 0)
		p = p->next;
	if (p && (p->wanted || same_words(p->env, env))) {
		p->wanted = true; /* the first section that has it says in which environment */
		program_env_free(env);
		return;
	}
	p = mem_alloc(sizeof(*p));
	*p = (struct list_program){.next = s->listing.programs, .spawner = s, .env = env, .wanted = true};
	p->line = mem_strdup(source->line);
	p->argv = words_again(source->argv);
	p->label = mem_printf("list program %s", p->argv[0]);
	s->listing.programs = p;
	timer_set(s->setup.loop, &p->again, s->setup.loop->now_ms, begin, p);
}

static void end_unwanted(struct spawner *s)
{
	for (struct list_program **at = &s->listing.programs, *p; (p = *at);) {
		if (p->wanted) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		end(p);
	}
}

static void want_all(struct spawner *s, const struct config *c)
{
	const struct program_client nobody = {.name = ""};

	for (size_t i = 0; i < c->n_sections; i++)
		for (size_t k = 0; k < c->sections[i].n_sources; k++)
			if (c->sections[i].sources[k].kind == SOURCE_PROGRAM)
				want(s, &c->sections[i].sources[k], program_env(&c->sections[i], &nobody, environ));
}

void listing_set_config(struct spawner *s, const struct config *c)
{
	if (!s->setup.list || s->stopping)
		return;
	for (struct list_program *p = s->listing.programs; p; p = p->next)
		p->wanted = false;
	want_all(s, c);
	end_unwanted(s);
}

void listing_stop(struct spawner *s)
{
	s->setup.list = NULL;
	for (struct list_program *p = s->listing.programs; p; p = p->next)
		p->wanted = false;
	end_unwanted(s);
}

bool listing_is_idle(const struct spawner *s)
{
	return !s->listing.runs;
}

void listing_release(struct spawner *s)
{
	listing_stop(s);
	while (s->listing.runs)
		list_run_free(s->listing.runs);
}
