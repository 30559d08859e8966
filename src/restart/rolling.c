/*
 * rolling.c - see upgrade.c, step 4. One trio at a time: its worker ends, its primary keeper executes the program, the rest follows from
 * that (takeover/keeper.c). One that does not become it in time goes on with what it was.
 */
#include "restart/rolling.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "takeover/keeper.h"

#define REEXEC_LIMIT_MS 5000
#define ROLLING_LOOK_MS 5

static void next(struct rolling *r);

/* Has the trio under way become the new program? */
static void rolling_look(void *arg)
{
	struct rolling *r = arg;
	struct worker *w = &r->workers->list[r->at];
	struct trio *t = w->trio;

	if (atomic_load(&t->reexecs_failed) != r->failed) {
		log_error("%s: worker %u goes on with the old program: the new one has ended", r->why, r->at);
	} else if (r->workers->loop->now_ms >= r->deadline_ms) {
		log_error("%s: worker %u does not become the new program: back to the old one", r->why, r->at);
		if (atomic_load(&t->reexec) != REEXEC_NONE)
			worker_signal(w, atomic_load(&t->primary), SIGKILL);
	} else if (atomic_load(&t->reexecs) == r->reexecs) {
		timer_set(r->workers->loop, &r->timer, r->workers->loop->now_ms + ROLLING_LOOK_MS, rolling_look, r);
		return;
	} else {
		r->n_done++;
	}
	r->at++;
	next(r);
}

static void finish(struct rolling *r)
{
	char *text =
	        mem_printf("version %s serves, %u of %u workers run it", TCPPROXY_VERSION, r->n_done, r->workers->n);

	r->workers->rolling = false;
	log_info("%s: done: %s", r->why, text);
	if (r->over)
		r->over(r->arg, text);
	free(text);
}

/* Why this one is left out; NULL: it is not. */
static const char *why_not(const struct worker *w)
{
	if (again_is_pending(&w->child.again))
		return ""; /* no member of it is left; it begins as this program */
	return atomic_load(&w->trio->confined)
	               ? "both its keepers had died at once, and those that a worker starts may execute none"
	               : NULL;
}

static void next(struct rolling *r)
{
	struct wire m = {.type = WIRE_REEXEC};
	struct worker *w;
	const char *why;
	int fd;

	for (; r->at < r->workers->n && (why = why_not(&r->workers->list[r->at])); r->at++)
		if (*why)
			log_error("%s: worker %u goes on with the old program: %s", r->why, r->at, why);
	if (r->at >= r->workers->n) {
		finish(r);
		return;
	}
	w = &r->workers->list[r->at];
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	r->reexecs = atomic_load(&w->trio->reexecs);
	r->failed = atomic_load(&w->trio->reexecs_failed);
	r->deadline_ms = r->workers->loop->now_ms + REEXEC_LIMIT_MS;
	if (fd >= 0 && program_identify(fd, &r->workers->world->program) == 0)
		worker_send(w, &m, &fd, 1);
	if (fd >= 0)
		close(fd);
	timer_set(r->workers->loop, &r->timer, r->workers->loop->now_ms + ROLLING_LOOK_MS, rolling_look, r);
}

void rolling_begin(struct rolling *r, const char *why, void (*over)(void *arg, const char *text), void *arg)
{
	*r = (struct rolling){.workers = r->workers, .why = why, .over = over, .arg = arg};
	r->workers->rolling = true;
	next(r);
}

void rolling_need_not(struct rolling *r, const char *why, void (*over)(void *arg, const char *text), void *arg)
{
	*r = (struct rolling){.workers = r->workers, .why = why, .over = over, .arg = arg, .n_done = r->workers->n};
	finish(r);
}
