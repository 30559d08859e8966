#include "stats/history.h"

#include <string.h>

static const struct {
	bool error;
	const char *words;
} ends[END_COUNT] = {
        [END_NONE] = {false, "it goes on"},
        [END_CLIENT_FIN] = {false, "the client ended it"},
        [END_SERVER_FIN] = {false, "the server ended it"},
        [END_CLIENT_RESET] = {true, "the client broke it off (reset)"},
        [END_SERVER_RESET] = {true, "the server broke it off (reset)"},
        [END_DENIED] = {true, "access rules or the access program did not let the client in"},
        [END_CONNECT_FAILED] = {true, "no server took the connection"},
        [END_CONNECT_TIMEOUT] = {true, "no server answered in time (connect-timeout)"},
        [END_UNRESOLVED] = {true, "the server's name has no address"},
        [END_IDLE_TIMEOUT] = {true, "silent for too long (timeout)"},
        [END_HALF_CLOSE_TIMEOUT] = {true, "half closed for too long (half-close-timeout)"},
        [END_LIMIT] = {true, "a limit was reached (max-connections and its kin)"},
        [END_KILLED] = {false, "an administrator ended it"},
        [END_STOPPED] = {false, "tcpproxy was stopped"},
        [END_HANDLER_EXIT] = {false, "the program ended"},
        [END_POISONED] = {true, "two workers died while they served it"},
        [END_LOST] = {true, "a worker and both its keepers died at once"},
        [END_NO_SERVER] = {true, "checks call every server down, or there is none"},
        [END_BAD_PROXY] = {true, "its PROXY header was missing or wrong"},
        [END_BAD_TLS] = {true, "it began as TLS does, and its hello is broken"},
        [END_NO_ROUTE] = {true, "what it said first leads nowhere"},
        [END_SERVER_DOWN] = {true, "a check has called its server down"},
};

bool end_is_error(enum end end)
{
	return end < END_COUNT && ends[end].error;
}

const char *end_words(enum end end)
{
	return end < END_COUNT ? ends[end].words : "?";
}

/* ---- errors ---- */

static void put_text(char *to, size_t size, const char *text)
{
	size_t len = text ? strnlen(text, size - 1) : 0;

	memcpy(to, text ? text : "", len);
	to[len] = '\0';
}

static void put_error(struct history *h, const struct history_error *e, const char *service, const char *text)
{
	uint64_t serial = atomic_load(&h->n_errors) + 1;
	struct history_error *place = &h->errors[serial % HISTORY_ERRORS];

	atomic_store(&place->serial, 0);
	atomic_thread_fence(memory_order_release);
	place->wall_us = e->wall_us;
	place->id = e->id;
	place->port = e->port;
	place->end = e->end;
	place->level = e->level;
	place->client = e->client;
	put_text(place->service, sizeof(place->service), service);
	put_text(place->text, sizeof(place->text), text);
	atomic_store(&place->serial, serial);
	atomic_store(&h->n_errors, serial);
}

void history_add_record(struct history *h, const struct record *r)
{
	const struct history_error e = {
	        .wall_us = r->wall_us, .id = r->id, .port = r->local.port, .end = r->end, .client = r->client};

	if (!h || r->event != RECORD_CLOSE || !end_is_error((enum end)r->end))
		return;
	put_error(h, &e, r->named ? r->service : NULL, r->target);
}

void history_add_line(struct history *h, enum log_level level, const char *line, int64_t wall_us)
{
	if (h && level <= LOG_LEVEL_WARNING)
		put_error(h, &(struct history_error){.wall_us = wall_us, .level = (uint8_t)level}, NULL, line);
}

/* ---- samples ---- */

void history_add_sample(struct history *h, const struct history_sample *s, const uint64_t *counts)
{
	uint64_t n = atomic_load(&h->n_samples), minutes = atomic_load(&h->n_minutes);
	struct history_minute *m = &h->minutes[minutes % HISTORY_MINUTES];

	h->samples[n % HISTORY_SECONDS] = *s;
	atomic_store(&h->n_samples, n + 1);
	if (minutes > 0 && s->wall_s - h->minutes[(minutes - 1) % HISTORY_MINUTES].wall_s < 60)
		return;
	m->wall_s = s->wall_s;
	memcpy(m->ends, counts, sizeof(m->ends));
	atomic_store(&h->n_minutes, minutes + 1);
}
