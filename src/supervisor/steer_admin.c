/* steer_admin.c - whether clients may come to a server: drain, disable, enable. What is said last holds for all that it is said of. */
#include <stdlib.h>
#include "ipc/changes.h"
#include "supervisor/meant.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

struct saying {
	struct supervisor *supervisor;
	uint32_t service; /* COUNTED_SERVICES: in all */
	enum admin_state value;
	int64_t drained_ms;
};

static void say(const struct saying *v, const struct words *words)
{
	atomic_store(&words->changed->drained_ms, v->drained_ms); /* which counts for one that is draining */
	atomic_store(words->admin_state, v->value);
}

static void say_no_more(void *arg, const struct words *words)
{
	(void)arg;
	atomic_store(&words->changed->drained_ms, 0);
	atomic_store(words->admin_state, ADMIN_STATE_BY_FILE);
}

/* A member of a line of which it was said: what was said of it before is over. What still was said of more than it, and counts before the
 * line, is not taken back: then it is said of the member, too. */
static void reach_member(const struct saying *v, uint32_t target)
{
	struct world *w = v->supervisor->children.workers.world;
	struct standing s = world_standing_anywhere(w, target);
	struct spot *p = (struct spot *)spots_find(&w->spots, v->service, target);
	struct words words = words_of_target(w, target);
	struct buf why = BUF_INIT;

	s.service = v->service;
	s.whole = service_whole(&w->services, v->service);
	if (v->service < COUNTED_SERVICES && p)
		words = words_of_spot(p);
	if (v->service >= COUNTED_SERVICES || p)
		say_no_more(NULL, &words);
	steer_each_part(v->supervisor, v->service, target, say_no_more, NULL);
	if (s.line < TARGETS_MAX && world_admin_state(w, &s) != v->value &&
	    steer_words(v->supervisor, v->service, target, &words, &why))
		say(v, &words);
	buf_release(&why);
}

static bool say_in(const struct saying *v, const struct meant *m, struct buf *why)
{
	for (size_t i = 0; i < m->n_said; i++) {
		struct words words;

		if (!steer_words(v->supervisor, v->service, m->list[i], &words, why))
			return false;
		say(v, &words);
		steer_each_part(v->supervisor, v->service, m->list[i], say_no_more, NULL);
	}
	for (size_t i = m->n_said; i < m->n; i++)
		reach_member(v, m->list[i]);
	return true;
}

bool steer_admin(struct supervisor *s, const char *service, const char *what, enum admin_state value, int64_t within_ms,
                 struct buf *why)
{
	struct meant m = meant_servers(s->children.workers.world, s->rules.config, service, what);
	struct saying v = {
	        .supervisor = s, .value = value, .drained_ms = within_ms < 0 ? 0 : s->loop.now_ms + within_ms};
	bool *was_out = steer_note_out(s), done = m.n > 0;

	for (size_t i = 0; done && i < meant_n_services(&m); i++) {
		v.service = meant_service(&m, i);
		done = say_in(&v, &m, why);
	}
	meant_release(&m);
	steer_let_come(s, was_out);
	if (done)
		steer_drain_plan(s);
	return done;
}
