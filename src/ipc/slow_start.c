#include "ipc/slow_start.h"

#define FIRST_MS 15000 /* a server that is new has been checked by then, if it answers */

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Since a check has found it up: after it was down, or for the first time after it was added. */
static int64_t up_ms(const struct world *w, uint32_t seat, uint64_t asks, int64_t came_ms)
{
	const struct health *h = &w->health[seat];
	struct health_view now = health_read(h, asks);
	bool new = came_ms &&now.since_ms >= came_ms &&now.since_ms - came_ms < FIRST_MS;

	if (now.state != HEALTH_UP)
		return 0;
	return new || atomic_load_explicit(&h->changes[HEALTH_DOWN], memory_order_relaxed) > 0 ? now.since_ms : 0;
}

/* Since it was said, of it or of more, that clients may come again. */
static int64_t came_ms(const struct world *w, const struct standing *of)
{
	struct spoken list[SPOKEN_MAX];
	size_t n = world_spoken(w, of, list);
	int64_t ms = 0;

	for (size_t i = 0; i < n; i++)
		ms = later(ms, atomic_load_explicit(&list[i].changed->came_ms, memory_order_relaxed));
	return ms;
}

/* Since when (monotonic) it has been there; 0: since the start. */
static int64_t there_ms(const struct world *w, const struct section *s, const struct standing *of)
{
	int64_t ms = came_ms(w, of);

	if (of->target < TARGETS_MAX && s->eject.for_ms)
		ms = later(ms, ejection_until_ms(&w->ejections[of->target]));
	return of->seat < SEATS_MAX ? later(ms, up_ms(w, of->seat, of->asks, ms)) : ms;
}

uint32_t slow_start_grown(const struct world *w, const struct section *s, const struct standing *of, int64_t now_ms)
{
	int64_t there = there_ms(w, s, of), age = now_ms - there, time = s->slow_start_ms;

	if (there == 0 || age >= time)
		return SLOW_START_WHOLE;
	if (age < 0) /* it is still ejected, or another process's clock is ahead */
		age = 0;
	return (uint32_t)(SLOW_START_WHOLE / 10 + (int64_t)(SLOW_START_WHOLE - SLOW_START_WHOLE / 10) * age / time);
}

uint32_t slow_start_max(const struct world *w, const struct section *s, const struct standing *of, uint32_t max,
                        int64_t now_ms)
{
	return max && s->slow_start_ms ? slow_start_part(slow_start_grown(w, s, of, now_ms), max) : max;
}
