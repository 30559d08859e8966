#include "spawner/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "spawner/checking.h"
#include "spawner/left.h"
#include "spawner/listing.h"
#include "spawner/noticing.h"
#include "spawner/spawner_parts.h"

#define STOP_MAX_MS 3000 /* TERM, 2 s, KILL, and time to die of it */

/* An ignored SIGCHLD is inherited from some starters, and would take the wait statuses from us. */
static void keep_wait_statuses(void)
{
	struct sigaction sa;

	if (sigaction(SIGCHLD, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
		signal(SIGCHLD, SIG_DFL);
}

static void on_stop(void *arg)
{
	struct spawner *s = arg;

	if (s->running > 0)
		log_warning("%u programs could not be ended", s->running);
	s->stopped(s->stopped_arg);
}

static void program_ended(struct spawner *s)
{
	noticing_go_on(s);
	if (s->stopping && s->running == 0)
		timer_set(s->setup.loop, &s->stop_timer, clock_mono_ms(), on_stop, s);
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
	s->checking.fd = -1;
	s->answer = channel_answer;
	s->ended = program_ended;
	s->noticing.fd = -1;
	s->programs = setup->programs ? setup->programs : &s->own_programs;
	left_take(s);
	*ret = s;
	return 0;
}

void spawner_free(struct spawner *s)
{
	if (!s)
		return;
	timer_clear(s->setup.loop, &s->stop_timer);
	while (s->jobs)
		job_free(s->jobs);
	while (s->channels)
		channel_close(s->channels);
	checking_release(s);
	noticing_release(s);
	listing_release(s);
	left_release(s);
	generation_drop_all(&s->generations);
	close(s->null_fd);
	free(s);
}

unsigned spawner_running(const struct spawner *s)
{
	return s->running;
}

bool spawner_is_idle(const struct spawner *s)
{
	return !s->jobs && !s->checking.jobs && !s->noticing.jobs && !s->left && listing_is_idle(s);
}

int spawner_set_checker(struct spawner *s, int fd)
{
	return checking_channel(s, fd);
}

int spawner_set_notices(struct spawner *s, int fd)
{
	return noticing_channel(s, fd);
}

void spawner_set_config(struct spawner *s, struct config *c, uint64_t generation)
{
	generation_add(&s->generations, c, generation);
	listing_set_config(s, c);
}

void spawner_stop_lists(struct spawner *s)
{
	listing_stop(s);
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
	checking_stop(s);
	noticing_stop(s);
	listing_stop(s);
	left_stop(s);
	program_ended(s);
}
