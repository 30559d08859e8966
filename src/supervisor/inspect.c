#include "supervisor/inspect.h"

#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "ipc/collect.h"
#include "supervisor/state.h"

#define TCP_INFO_WAIT_MS 300 /* a worker that is just being replaced does not answer */

/* A snapshot that waits for workers. */
struct look {
	struct supervisor *supervisor;
	struct look *next;
	uint64_t request; /* of WIRE_TCP_INFO */
	struct timer timer;
	bool connections;
	void (*done)(void *arg, struct snapshot *shot);
	void *arg;
};

struct inspect {
	struct collector *collector;
	struct look *looks;
	uint64_t requests;
	uint64_t *answered; /* by each worker */
};

struct snapshot *inspect_take(struct supervisor *s, bool connections)
{
	struct snapshot *shot = collect_take(s->inspect->collector, s->rules.config, s->rules.generation, connections);

	shot->pid = getpid();
	shot->config_path = s->setup->config_path;
	shot->log_level = log_level_name((enum log_level)atomic_load(&s->children.workers.world->log_level));
	shot->stopping = s->phase == PHASE_DRAINING || s->phase == PHASE_STOPPING;
	return shot;
}

/* All that have a worker have answered; the others are not waited for. */
static bool all_answered(const struct supervisor *s, uint64_t request)
{
	const struct workers *ws = &s->children.workers;

	for (uint32_t i = 0; i < ws->n; i++)
		if (ws->list[i].child.control.fd >= 0 && s->inspect->answered[i] < request)
			return false;
	return true;
}

static void finish_look(struct look *look)
{
	struct supervisor *s = look->supervisor;
	struct look **at = &s->inspect->looks;

	while (*at && *at != look)
		at = &(*at)->next;
	if (*at)
		*at = look->next;
	timer_clear(&s->loop, &look->timer);
	look->done(look->arg, inspect_take(s, look->connections));
	free(look);
}

static void inspect_waited_enough(void *arg)
{
	finish_look(arg);
}

static uint64_t ask_workers(struct supervisor *s)
{
	uint64_t request = ++s->inspect->requests;

	workers_send(&s->children.workers, &(struct wire){.type = WIRE_TCP_INFO, .request = request}, NULL, 0);
	return request;
}

void inspect_look(struct supervisor *s, bool connections, bool tcp, void (*done)(void *arg, struct snapshot *shot),
                  void *arg)
{
	struct look *l;

	if (!tcp) {
		done(arg, inspect_take(s, connections));
		return;
	}
	l = mem_alloc(sizeof(*l));
	*l = (struct look){
	        .supervisor = s, .next = s->inspect->looks, .connections = connections, .done = done, .arg = arg};
	s->inspect->looks = l;
	timer_set(&s->loop, &l->timer, s->loop.now_ms + TCP_INFO_WAIT_MS, inspect_waited_enough, l);
	l->request = ask_workers(s);
}

void inspect_want_tcp_info(struct supervisor *s)
{
	if (s->inspect)
		ask_workers(s);
}

void inspect_written(struct supervisor *s, uint32_t worker, uint64_t request)
{
	if (!s->inspect)
		return;
	if (request > s->inspect->answered[worker])
		s->inspect->answered[worker] = request;
	for (struct look *l = s->inspect->looks, *next; l; l = next) {
		next = l->next;
		if (all_answered(s, l->request))
			finish_look(l);
	}
}

void inspect_start(struct supervisor *s)
{
	const struct workers *ws = &s->children.workers;
	struct collect_source source = {.world = ws->world, .trios = s->children.workers.trios, .n_trios = ws->n};

	s->inspect = mem_alloc(sizeof(*s->inspect));
	*s->inspect = (struct inspect){.collector = collect_new(&source),
	                               .answered = mem_alloc(ws->n * sizeof(*s->inspect->answered) + 1)};
}

void inspect_stop(struct supervisor *s)
{
	struct inspect *i = s->inspect;

	if (!i)
		return;
	while (i->looks)
		finish_look(i->looks);
	s->inspect = NULL;
	collect_free(i->collector);
	free(i->answered);
	free(i);
}
