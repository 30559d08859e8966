#include "program/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "program/job.h"

#define GENERATIONS_KEPT 4
#define STOP_MAX_MS      3000 /* TERM, 2 s, KILL, and time to die of it */

/* An ignored SIGCHLD is inherited from some starters, and would take the wait statuses from us. */
static void keep_wait_statuses(void)
{
	struct sigaction sa;

	if (sigaction(SIGCHLD, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
		signal(SIGCHLD, SIG_DFL);
}

int spawner_new(const struct spawner_setup *setup, struct spawner **ret)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct spawner *s;

	if (fd < 0)
		return -errno;
	keep_wait_statuses();
	s = mem_alloc(sizeof(*s));
	s->setup = *setup;
	s->null_fd = fd;
	*ret = s;
	return 0;
}

void spawner_free(struct spawner *s)
{
	struct generation *g;

	if (!s)
		return;
	timer_clear(s->setup.loop, &s->stop_timer);
	while (s->jobs)
		job_free(s->jobs);
	while (s->channels)
		channel_close(s->channels);
	while ((g = s->generations)) {
		s->generations = g->next;
		generation_put(g);
	}
	close(s->null_fd);
	free(s);
}

unsigned spawner_running(const struct spawner *s)
{
	return s->running;
}

/* ---- configurations ---- */

void generation_put(struct generation *g)
{
	if (!g || --g->refs > 0)
		return;
	config_free(g->config);
	free(g);
}

struct generation *spawner_generation(struct spawner *s, uint64_t number)
{
	struct generation *g = s->generations;

	while (g && g->number != number)
		g = g->next;
	if (g)
		g->refs++;
	return g;
}

void spawner_set_config(struct spawner *s, struct config *c, uint64_t generation)
{
	struct generation *g = mem_alloc(sizeof(*g)), **last = &s->generations;

	*g = (struct generation){s->generations, generation, c, 1};
	s->generations = g;
	for (int i = 0; i < GENERATIONS_KEPT && *last; i++)
		last = &(*last)->next;
	g = *last; /* at most one is too many */
	*last = NULL;
	generation_put(g);
}

/* ---- stop ---- */

static void on_stop(void *arg)
{
	struct spawner *s = arg;

	if (s->running > 0)
		log_warning("%u programs could not be ended", s->running);
	s->stopped(s->stopped_arg);
}

void spawner_check_stopped(struct spawner *s)
{
	if (s->stopping && s->running == 0)
		timer_set(s->setup.loop, &s->stop_timer, clock_mono_ms(), on_stop, s);
}

void spawner_stop(struct spawner *s, void (*done)(void *arg), void *arg)
{
	if (s->stopping)
		return;
	s->stopping = true;
	s->stopped = done;
	s->stopped_arg = arg;
	timer_set(s->setup.loop, &s->stop_timer, clock_mono_ms() + STOP_MAX_MS, on_stop, s);
	for (struct job *j = s->jobs, *next; j; j = next) {
		next = j->next;
		job_end(j);
	}
	spawner_check_stopped(s);
}
