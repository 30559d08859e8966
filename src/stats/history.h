/*
 * history.h - the last hour, in shared memory: how much went through each second, how connections
 * ended each minute, and the last errors, one by one. It outlives the process that shows it.
 *
 * Two writers, each with its own part: samples are written by the process that shows them, errors by the
 * one that writes the log. Any process may read while they write.
 */
#ifndef STATS_HISTORY_H
#define STATS_HISTORY_H

#include <stdatomic.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/record.h"
#include "stats/counters.h"

#define HISTORY_SECONDS 3600
#define HISTORY_MINUTES 60
#define HISTORY_ERRORS  512
#define HISTORY_TEXT    224
#define HISTORY_SERVICE 65

/* What there was at the end of a second. Counts since the start, but for `active`. */
struct history_sample {
	int64_t wall_s; /* 0: none */
	uint64_t active, accepted, client_bytes, server_bytes;
};

/* How connections had ended, since the start, when a minute began. */
struct history_minute {
	int64_t wall_s;
	uint64_t ends[COUNTED_ENDS];
};

/* A connection that ended badly, or (end END_NONE) a line of the log. */
struct history_error {
	atomic_ullong serial; /* from 1; 0: being written */
	int64_t wall_us;
	uint64_t id; /* of the connection */
	uint16_t port;
	uint8_t end;   /* enum end */
	uint8_t level; /* enum log_level, of a line */
	struct addr client;
	char service[HISTORY_SERVICE]; /* its name; "": it has none */
	char text[HISTORY_TEXT];       /* the line; else the server, by its name or as it is spelt; "": none */
};

struct history {
	atomic_ullong n_samples, n_minutes, n_errors; /* ever */
	struct history_sample samples[HISTORY_SECONDS];
	struct history_minute minutes[HISTORY_MINUTES];
	struct history_error errors[HISTORY_ERRORS];
};

/* Whether a connection that ended so is an error, and that in words. */
bool end_is_error(enum end end);
const char *end_words(enum end end);

/* The writer of the log. h may be NULL. */
void history_add_record(struct history *h, const struct record *r);
void history_add_line(struct history *h, enum log_level level, const char *line, int64_t wall_us);

/* The other writer, about once a second. ends: as of struct history_minute. */
void history_add_sample(struct history *h, const struct history_sample *s, const uint64_t *ends);

/* Readers. JSON: rates of each second after `since` (seconds since 1970), oldest first, as columns;
 * errors whose serial is above `since`, and how connections ended in the last hour. */
void render_history_json(const struct history *h, int64_t since, struct buf *out);
void render_errors_json(const struct history *h, uint64_t since, const uint64_t *ends_now, int64_t now_s,
                        struct buf *out);

#endif
