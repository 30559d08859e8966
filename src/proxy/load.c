/*
 * load.c - once a second, a worker that has something to do looks whether the load is uneven, and says so: one
 * worker has many more connections than another (whose own have ended), or too much to do while another
 * sleeps.
 */
#include "base/clock.h"
#include "proxy/engine.h"

#define LOAD_LOOK_MS 1000
#define MUCH         85 /* percent of a processor */
#define LITTLE       50
#define LOAD_SLACK   8 /* connections that are not worth it */

static bool another_has_time(const struct engine *e)
{
	uint32_t n = atomic_load_explicit(&e->world->n_workers, memory_order_relaxed);

	for (uint32_t i = 0; i < n && i < WORLD_WORKERS; i++)
		if (i != e->limits.own && world_load(e->world, i, e->loop.now_ms) < LITTLE)
			return true;
	return false;
}

/* A worker has more than its share and an eighth. */
static bool uneven(const struct engine *e)
{
	uint32_t n = atomic_load_explicit(&e->world->n_workers, memory_order_relaxed);
	uint64_t all = 0, most = 0;

	for (uint32_t i = 0; i < n && i < WORLD_WORKERS; i++) {
		uint64_t live = atomic_load_explicit(&e->world->live[i], memory_order_relaxed);

		all += live;
		most = live > most ? live : most;
	}
	return most > LOAD_SLACK && (most - LOAD_SLACK) * n * 8 > all * 9;
}

void engine_look_at_load(struct engine *e)
{
	struct load *mine = &e->world->load[e->limits.own];
	int64_t elapsed_ms = e->loop.now_ms - e->load_looked_ms;
	int64_t cpu_us, percent;

	if (elapsed_ms < LOAD_LOOK_MS)
		return;
	cpu_us = clock_cpu_us();
	percent = (cpu_us - e->load_cpu_us) / (elapsed_ms * 10);
	e->load_looked_ms = e->loop.now_ms;
	e->load_cpu_us = cpu_us;
	atomic_store(&mine->percent, (unsigned)percent);
	atomic_store(&mine->at_ms, e->loop.now_ms);
	if (!e->imbalance)
		return;
	if (uneven(e))
		e->imbalance(e->idle_arg, false);
	else if (percent > MUCH && elapsed_ms < 2 * LOAD_LOOK_MS && another_has_time(e))
		e->imbalance(e->idle_arg, true);
}
