#include "ipc/eject_view.h"

#include <string.h>
#include "base/clock.h"
#include "ipc/slow_start.h"

void eject_view(struct snapshot *s, const struct world *w, const struct section *section, uint32_t target, bool left,
                struct server_view *v)
{
	int64_t now_ms = clock_mono_ms();
	struct ejection_view e;
	struct buf why = BUF_INIT;

	if (!section->eject.for_ms || target >= TARGETS_MAX)
		return;
	e = ejection_read(&w->ejections[target]);
	v->ejections = e.number;
	if (e.until_ms <= now_ms || strcmp(v->health, "down") == 0 || strcmp(v->health, "unresolved") == 0)
		return;
	ejection_say_why(&w->ejections[target], &w->experience[target], &why);
	if (left)
		buf_addf(&why, ", %.1f s left", (double)(e.until_ms - now_ms) / 1000);
	v->health = "ejected";
	v->health_us = now_ms > e.began_ms ? (now_ms - e.began_ms) * 1000 : 0;
	v->why = snapshot_keep(s, why.s, why.len);
	buf_release(&why);
}

void member_view_now(const struct world *w, const struct section *section, const struct standing *of,
                     struct member_view *m)
{
	int64_t now_ms = clock_mono_ms();
	uint32_t weight = world_weight(w, of) * 1000;
	uint32_t max = world_max(w, of, m->max_file);

	if (section->slow_start_ms) /* hundredths are enough */
		weight = slow_start_part(slow_start_grown(w, section, of, now_ms), weight) / 10 * 10;
	m->weight_milli = weight;
	m->max = slow_start_max(w, section, of, max, now_ms);
	if (section->eject.for_ms && m->target < TARGETS_MAX)
		m->ejections = ejection_read(&w->ejections[m->target]).number;
}
