#include "proxy/recording.h"

#include <stdlib.h>
#include "base/mem.h"

static void put_record(struct session *s, enum record_event event)
{
	struct engine *e = s->engine;
	struct record_message m;
	size_t len;

	if (s->row->state == ROW_HANDLER)
		handler_count(s->row);
	len = accesslog_fill(e->env.trio, e->world, s->index, event, &m);
	e->setup.message(e->setup.arg, MESSAGE_RECORD, &m, len);
}

static void plan(struct session *s);

static void interval_over(void *arg)
{
	struct session *s = arg;

	put_record(s, RECORD_INTERVAL);
	plan(s);
}

/* The next multiple of the interval since it was connected, so that a new worker keeps the pace. */
static void plan(struct session *s)
{
	struct loop *l = &s->engine->loop;
	int64_t interval = s->cold->access_interval_ms;
	int64_t begun = s->cold->connected_us / 1000;

	if (s->cold->access_log != ACCESS_LOG_INTERVAL || interval <= 0)
		return;
	if (!s->record_timer)
		s->record_timer = mem_alloc(sizeof(*s->record_timer));
	timer_set(l, s->record_timer, begun + ((l->now_ms - begun) / interval + 1) * interval, interval_over, s);
}

void recording_begin(struct session *s)
{
	tapping_match(s, true);
	if (s->cold->access_log == ACCESS_LOG_OPEN)
		put_record(s, RECORD_OPEN);
	plan(s);
}

void recording_resume(struct session *s)
{
	if (s->cold->connected_us) {
		tapping_match(s, false);
		plan(s);
	}
}

void recording_stop(struct session *s)
{
	if (!s->record_timer)
		return;
	timer_clear(&s->engine->loop, s->record_timer);
	free(s->record_timer);
	s->record_timer = NULL;
}
