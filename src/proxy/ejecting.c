#include "proxy/ejecting.h"

#include <stdlib.h>
#include "base/mem.h"
#include "proxy/eject.h"

/* Where it stands now: an established connection may be older than the rules. NULL: nothing is ejected there; nor by a process that serves
 * one connection and knows of no others. */
static const struct section *section_that_ejects(struct session *s)
{
	const struct ruleset *rules = s->engine->rules;
	const struct section *section;

	if (!s->engine->setup.rearm_fds || s->cold->target >= TARGETS_MAX)
		return NULL;
	if (s->cold->generation == rules->generation)
		section = &rules->config->sections[s->cold->section];
	else
		section = ruleset_find(rules, &s->cold->local);
	return section && section->eject.for_ms ? section : NULL;
}

static struct ejection *ejection_of(struct session *s)
{
	return &s->engine->world->ejections[s->cold->target];
}

/* In its pool; p->n: it is not there. */
static uint32_t member_of(const struct pool *p, uint32_t target)
{
	uint32_t i = 0;

	while (i < p->n && p->targets[i] != target)
		i++;
	return i;
}

static void failed(struct session *s, const struct section *section, bool early)
{
	struct engine *e = s->engine;
	const struct pool *p = &e->rules->pools[section->index];

	if (eject_failed(e->world, section, p, member_of(p, s->cold->target), early, e->loop.now_ms) && e->ejected)
		e->ejected(e->idle_arg);
}

void ejecting_failed(struct session *s, bool ours)
{
	const struct section *section = section_that_ejects(s);

	if (section && !ours)
		failed(s, section, false);
}

/* ---- probation: not connected, but for a byte, or for some time ---- */

static void end_probation(struct session *s)
{
	timer_clear(&s->engine->loop, s->probation);
	free(s->probation);
	s->probation = NULL;
}

static void probation_over(void *arg)
{
	struct session *s = arg;

	ejection_worked(ejection_of(s));
	end_probation(s);
}

static void begin_probation(struct session *s, int64_t early_ms)
{
	int64_t until_ms = s->cold->connected_us / 1000 + early_ms;

	if (until_ms <= s->engine->loop.now_ms)
		return;
	s->probation = mem_alloc(sizeof(*s->probation));
	timer_set(&s->engine->loop, s->probation, until_ms, probation_over, s);
}

void ejecting_connected(struct session *s)
{
	const struct section *section = section_that_ejects(s);

	if (section && section->eject.early_ms)
		begin_probation(s, section->eject.early_ms);
	else if (section)
		ejection_worked(ejection_of(s));
}

void ejecting_resume(struct session *s)
{
	const struct section *section = row_down(s->row, s->cold) == 0 ? section_that_ejects(s) : NULL;

	if (section && section->eject.early_ms && s->row->state == ROW_RELAY)
		begin_probation(s, section->eject.early_ms);
}

void ejecting_look(struct session *s)
{
	const struct flow_row *down = &s->row->flow[SERVER];
	const struct section *section;

	if (down->moved > 0) {
		probation_over(s);
		return;
	}
	if (!(down->flags & (FLOW_EOF | FLOW_RESET)) && !(s->row->flags & ROWFLAG_SERVER_RESET))
		return;
	section = section_that_ejects(s);
	if (section)
		failed(s, section, true);
	end_probation(s);
}

void ejecting_stop(struct session *s)
{
	if (s->probation)
		ejecting_look(s);
	if (s->probation)
		end_probation(s);
}
