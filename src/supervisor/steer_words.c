/* steer_words.c - where something is said of a server: beside it, or, in one service only, in a slot of its own (ipc/spots.h). */
#include "ipc/changes.h"
#include "supervisor/state.h"
#include "supervisor/steer.h"

bool steer_words(struct supervisor *s, uint32_t service, uint32_t target, struct words *ret, struct buf *why)
{
	struct world *w = s->children.workers.world;
	struct spot *p;

	if (service >= COUNTED_SERVICES || w->targets.list[target].of_service) { /* which is in one service only */
		*ret = words_of_target(w, target);
		return true;
	}
	p = changes_spot(w, s->rules.config, service, target);
	if (p)
		*ret = words_of_spot(p);
	else
		buf_addf(why, "there is no room for more changes in one service only: tcpproxyctl changes shows those "
		              "that there are");
	return p != NULL;
}

void steer_each_part(struct supervisor *s, uint32_t service, uint32_t target,
                     void (*each)(void *arg, const struct words *words), void *arg)
{
	struct world *w = s->children.workers.world;

	for (uint32_t i = 0; i < SPOTS_MAX && atomic_load(&w->spots.n) > 0; i++) {
		struct spot *p = &w->spots.list[i];
		struct words words;

		if (!spot_speaks(p) || spot_target(p) != target ||
		    (service < COUNTED_SERVICES && service_whole(&w->services, spot_service(p)) != service))
			continue;
		words = words_of_spot(p);
		each(arg, &words);
	}
}
