#include "ipc/accesslog.h"

#include <stddef.h>
#include <string.h>
#include "base/clock.h"

/* A program without its arguments, so that the value has no space in it. */
static size_t server_text_len(const char *key)
{
	return key[0] == '/' ? strcspn(key, " ") : strlen(key);
}

size_t accesslog_server_text(const struct row_cold *cold, const struct world *world, const char **ret)
{
	bool called = cold->connected_us || cold->server.family == AF_UNIX;

	if (!called || cold->target >= TARGETS_MAX || cold->server.family == AF_INET || cold->server.family == AF_INET6)
		return 0;
	*ret = world->targets.list[cold->target].key;
	return server_text_len(*ret);
}

size_t accesslog_fill(const struct trio *t, const struct world *world, uint32_t i, enum record_event event,
                      struct record_message *ret)
{
	const struct row *row = trio_row(t, i);
	const struct row_cold *cold = trio_cold(t, i);
	int64_t now_us = clock_mono_us();
	const char *server;
	size_t n;

	ret->record = (struct record){
	        .id = cold->id,
	        .wall_us = clock_wall_us(),
	        .connect_us = cold->connected_us ? clock_span(cold->accepted_us, cold->connected_us) : -1,
	        .duration_us = clock_span(cold->accepted_us, now_us),
	        .waited_us = row_waited_us(cold, now_us),
	        .up = row_up(row, cold),
	        .down = row_down(row, cold),
	        .local = cold->local,
	        .client = cold->client,
	        .via = cold->via,
	        .announced = cold->announced,
	        .server = cold->server,
	        .event = (uint8_t)event,
	        .end = row->end,
	        .why = row->why,
	        .unwanted = !accesslog_wants(cold->access_log, event, (enum end)row->end),
	};
	ret->label = cold->label;
	ret->service = row->service;
	ret->target = row->server == UINT16_MAX ? TARGET_NONE : cold->target;
	n = ret->len[TEXT_NAME] = (uint16_t)ask_name(t, i, cold, ret->texts);
	ret->len[TEXT_SERVER] = (uint16_t)accesslog_server_text(cold, world, &server);
	if (ret->len[TEXT_SERVER] > 0)
		memcpy(ret->texts + n, server, ret->len[TEXT_SERVER]);
	n += ret->len[TEXT_SERVER];
	ret->len[TEXT_UID] = (uint16_t)announced_uid(t, i, cold, ret->texts + n);
	n += ret->len[TEXT_UID];
	ret->len[TEXT_AUTHORITY] = (uint16_t)announced_authority(t, i, cold, ret->texts + n);
	n += ret->len[TEXT_AUTHORITY];
	ret->len[TEXT_SNI] = (uint16_t)said_sni(t, i, cold, ret->texts + n);
	n += ret->len[TEXT_SNI];
	ret->len[TEXT_ALPN] = (uint16_t)said_alpn(t, i, cold, ret->texts + n);
	n += ret->len[TEXT_ALPN];
	ret->len[TEXT_PROTOCOL] = (uint16_t)said_protocol(cold, ret->texts + n);
	n += ret->len[TEXT_PROTOCOL];
	return offsetof(struct record_message, texts) + n;
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

/* How service and server are called, which the worker knows by their numbers. */
static void name_them(const struct record_message *m, const struct world *world, struct record *ret)
{
	const struct known_service *service = m->service < COUNTED_SERVICES ? &world->services.list[m->service] : NULL;

	ret->service = service ? service_label(service) : NULL;
	ret->ports = service ? service->ports : NULL;
	ret->named = service && service->called[0];
	ret->target = m->target < TARGETS_MAX ? target_label(&world->targets.list[m->target]) : NULL;
}

/* len: of all. */
static bool cut_texts(const struct record_message *m, size_t len, char *texts, const char *ret[RECORD_TEXTS])
{
	size_t at = 0;

	for (int i = 0; i < RECORD_TEXTS; i++) {
		if (m->len[i] > len - at)
			return false;
		memcpy(texts, m->texts + at, m->len[i]);
		texts[m->len[i]] = '\0';
		ret[i] = texts;
		texts += m->len[i] + 1;
		at += m->len[i];
	}
	return at == len;
}

bool accesslog_read(const void *data, size_t len, const struct world *world, char *texts, struct record *ret,
                    uint32_t *label)
{
	const char *cut[RECORD_TEXTS];
	struct record_message m;

	if (len < offsetof(struct record_message, texts) || len > sizeof(m))
		return false;
	memcpy(&m, data, len);
	if (!cut_texts(&m, len - offsetof(struct record_message, texts), texts, cut))
		return false;
	*ret = m.record;
	*label = m.label;
	ret->format = NULL;
	name_them(&m, world, ret);
	ret->rule = labels_text(&world->labels, m.label);
	ret->name = cut[TEXT_NAME];
	ret->server_text = cut[TEXT_SERVER];
	ret->uid = cut[TEXT_UID];
	ret->authority = cut[TEXT_AUTHORITY];
	ret->sni = cut[TEXT_SNI];
	ret->alpn = cut[TEXT_ALPN];
	ret->protocol = cut[TEXT_PROTOCOL];
	return true;
}
