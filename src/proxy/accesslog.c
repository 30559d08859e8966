#include "proxy/accesslog.h"

#include <stddef.h>
#include <string.h>
#include "base/clock.h"
#include "proxy/ask.h"

/* A program without its arguments, so that the value has no space in it. */
static size_t server_text_len(const char *key)
{
	return key[0] == '/' ? strcspn(key, " ") : strlen(key);
}

static uint16_t put_text(struct record_message *m, uint16_t at, const char *text, size_t max)
{
	size_t n = text ? strlen(text) : 0;

	if (n > max)
		n = max;
	memcpy(m->texts + at, text ? text : "", n);
	return (uint16_t)n;
}

size_t accesslog_fill(struct trio *t, const struct world *world, uint32_t i,
		      enum record_event event, struct record_message *ret)
{
	const struct row *row = trio_row(t, i);
	const struct row_cold *cold = trio_cold(t, i);
	int64_t now_us = clock_mono_us();

	ret->record = (struct record){
		.id = cold->id,
		.wall_us = clock_wall_us(),
		.connect_us = cold->connected_us ? cold->connected_us - cold->accepted_us : -1,
		.duration_us = now_us - cold->accepted_us,
		.up = row->flow[CLIENT].moved,
		.down = row->flow[SERVER].moved,
		.local = cold->local,
		.client = cold->client,
		.server = cold->server,
		.event = (uint8_t)event,
		.end = row->end,
		.unwanted = !accesslog_wants(cold->access_log, event, (enum end)row->end),
	};
	ret->label = cold->label;
	ret->name_len = put_text(ret, 0, ask_name(t, i, cold), CLIENT_NAME_MAX);
	ret->server_len = 0;
	if (cold->connected_us && cold->target < TARGETS_MAX && cold->server.family != AF_INET &&
	    cold->server.family != AF_INET6) /* a Unix socket, a program: as it was spelt */
		ret->server_len = put_text(
			ret, ret->name_len, world->targets.list[cold->target].key,
			server_text_len(world->targets.list[cold->target].key));
	return offsetof(struct record_message, texts) + ret->name_len + ret->server_len;
}

bool accesslog_wants(uint8_t log, enum record_event event, enum end end)
{
	switch ((enum access_log)log) {
	case ACCESS_LOG_OFF:
		return false;
	case ACCESS_LOG_ERRORS:
		return event == RECORD_CLOSE && end != END_CLIENT_FIN && end != END_SERVER_FIN &&
		       end != END_HANDLER_EXIT;
	case ACCESS_LOG_OPEN:
		return event != RECORD_INTERVAL;
	case ACCESS_LOG_INTERVAL:
		return event != RECORD_OPEN;
	case ACCESS_LOG_END:
		break;
	}
	return event == RECORD_CLOSE;
}

bool accesslog_read(const void *data, size_t len, const struct world *world, char *texts,
		    struct record *ret, uint32_t *label)
{
	struct record_message m;

	if (len < offsetof(struct record_message, texts) || len > sizeof(m))
		return false;
	memcpy(&m, data, len);
	if (offsetof(struct record_message, texts) + m.name_len + m.server_len != len)
		return false;
	memcpy(texts, m.texts, m.name_len);
	texts[m.name_len] = '\0';
	memcpy(texts + m.name_len + 1, m.texts + m.name_len, m.server_len);
	texts[m.name_len + 1 + m.server_len] = '\0';
	*ret = m.record;
	*label = m.label;
	ret->format = NULL;
	ret->rule = labels_text(&world->labels, m.label);
	ret->name = texts;
	ret->server_text = texts + m.name_len + 1;
	return true;
}
