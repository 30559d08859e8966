#include "worker/succession.h"

#define SUCCESSION_PATIENCE_MS 1000
#define SUCCESSION_LOOK_MS     2

/* It serves by these rules, or later ones. */
static bool is_done(const struct trio *t, uint64_t generation)
{
	return t->config_generation >= generation && atomic_load(&t->reexec) == REEXEC_NONE &&
	       atomic_load(&t->ready) == t->pid[MEMBER_WORKER];
}

static bool is_our_turn(const struct succession *s)
{
	for (uint32_t i = 0; i < s->trio->number; i++)
		if (!is_done(s->trios[i], s->trio->config_generation))
			return false;
	return true;
}

static void succession_look(void *arg)
{
	struct succession *s = arg;

	if (is_our_turn(s) || s->loop->now_ms >= s->until_ms)
		s->go();
	else
		timer_set(s->loop, &s->timer, s->loop->now_ms + SUCCESSION_LOOK_MS, succession_look, s);
}

void succession_begin(struct succession *s, struct loop *l, struct trio *t, struct trio *const *trios, void (*go)(void))
{
	*s = (struct succession){.loop = l,
	                         .trio = t,
	                         .trios = trios,
	                         .go = go,
	                         .until_ms = l->now_ms + SUCCESSION_PATIENCE_MS,
	                         .waits = true};
	atomic_store(&t->reexec, REEXEC_HEIR_WAITS);
	succession_look(s);
}
