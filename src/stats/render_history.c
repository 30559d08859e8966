/* render_history.c - the last hour as JSON. */
#include <inttypes.h>
#include <string.h>
#include "base/json.h"
#include "stats/history.h"

/* ---- rates ---- */

enum column { ACTIVE, ACCEPTED, CLIENT_BYTES, SERVER_BYTES, COLUMNS };

/* Between two samples; a clock that was set back, or counts that began anew, give nothing. */
static uint64_t value(const struct history_sample *a, const struct history_sample *b, enum column column)
{
	const uint64_t before[] = {0, a->accepted, a->client_bytes, a->server_bytes};
	const uint64_t after[] = {b->active, b->accepted, b->client_bytes, b->server_bytes};
	int64_t seconds = b->wall_s - a->wall_s;

	if (column == ACTIVE)
		return after[ACTIVE];
	if (seconds < 1 || after[column] < before[column])
		return 0;
	return (after[column] - before[column]) / (uint64_t)seconds;
}

static const struct history_sample *sample(const struct history *h, uint64_t i)
{
	return &h->samples[i % HISTORY_SECONDS];
}

void render_history_json(const struct history *h, int64_t since, struct buf *out)
{
	static const char *const names[COLUMNS] = {"active", "accepted", "client_bytes", "server_bytes"};
	uint64_t end = atomic_load(&h->n_samples);
	/* the oldest one may be overwritten just now; the one after it has none before it */
	uint64_t begin = end >= HISTORY_SECONDS ? end - HISTORY_SECONDS + 2 : 1;

	while (begin < end && sample(h, begin)->wall_s <= since)
		begin++;
	json_open(out, NULL, '{');
	json_open(out, "time", '[');
	for (uint64_t i = begin; i < end; i++)
		buf_addf(out, "%s%" PRId64, i > begin ? "," : "", sample(h, i)->wall_s);
	buf_addc(out, ']');
	for (enum column c = ACTIVE; c < COLUMNS; c++) {
		json_open(out, names[c], '[');
		for (uint64_t i = begin; i < end; i++)
			buf_addf(out, "%s%" PRIu64, i > begin ? "," : "", value(sample(h, i - 1), sample(h, i), c));
		buf_addc(out, ']');
	}
	buf_adds(out, "}\n");
}

/* ---- errors ---- */

/* As things were an hour ago, or when we began. */
static const uint64_t *an_hour_ago(const struct history *h, int64_t now_s)
{
	uint64_t n = atomic_load(&h->n_minutes);
	uint64_t i = n > HISTORY_MINUTES - 1 ? n - (HISTORY_MINUTES - 1) : 0;

	while (i < n && h->minutes[i % HISTORY_MINUTES].wall_s < now_s - HISTORY_SECONDS)
		i++;
	return i < n ? h->minutes[i % HISTORY_MINUTES].ends : NULL;
}

static void add_reasons(const struct history *h, const uint64_t *ends_now, int64_t now_s, struct buf *out)
{
	const uint64_t *before = an_hour_ago(h, now_s);

	json_open(out, "reasons", '[');
	for (int i = 0; i < END_COUNT; i++) {
		uint64_t n = ends_now[i] - (before && before[i] <= ends_now[i] ? before[i] : 0);

		if (n == 0 || !end_is_error((enum end)i))
			continue;
		json_open(out, NULL, '{');
		json_text(out, "end", end_name((enum end)i));
		json_text(out, "reason", end_words((enum end)i));
		json_count(out, "count", n);
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

static bool copy_error(const struct history_error *e, uint64_t serial, struct history_error *ret)
{
	if (atomic_load(&e->serial) != serial)
		return false;
	memcpy(ret, e, sizeof(*ret));
	atomic_thread_fence(memory_order_acquire);
	ret->service[HISTORY_SERVICE - 1] = '\0';
	ret->text[HISTORY_TEXT - 1] = '\0';
	return atomic_load(&e->serial) == serial;
}

static void add_error(const struct history_error *e, uint64_t serial, struct buf *out)
{
	char text[ADDR_TEXT_MAX];

	json_open(out, NULL, '{');
	json_count(out, "serial", serial);
	json_count(out, "time", (uint64_t)(e->wall_us / 1000000));
	if (e->end == END_NONE) {
		json_text(out, "level", log_level_name((enum log_level)e->level));
		json_text(out, "reason", e->text);
	} else {
		json_text(out, "end", end_name((enum end)e->end));
		json_text(out, "reason", end_words((enum end)e->end));
		json_count(out, "id", e->id);
		json_text(out, "service", e->service);
		json_count(out, "port", e->port);
		json_text(out, "client", e->client.family == AF_UNSPEC ? NULL : addr_format_port(&e->client, text));
		json_text(out, "server", e->text);
	}
	buf_addc(out, '}');
}

void render_errors_json(const struct history *h, uint64_t since, const uint64_t *ends_now, int64_t now_s,
                        struct buf *out)
{
	uint64_t last = atomic_load(&h->n_errors);
	uint64_t first = last >= HISTORY_ERRORS ? last - HISTORY_ERRORS + 2 : 1;
	struct history_error e;

	if (since >= first && since <= last)
		first = since + 1;
	json_open(out, NULL, '{');
	add_reasons(h, ends_now, now_s, out);
	json_open(out, "errors", '[');
	for (uint64_t i = first; i <= last; i++)
		if (copy_error(&h->errors[i % HISTORY_ERRORS], i, &e) && e.wall_us / 1000000 > now_s - HISTORY_SECONDS)
			add_error(&e, i, out);
	buf_addc(out, ']');
	json_count(out, "last", last);
	buf_adds(out, "}\n");
}
