/* render.h - a snapshot as text for people, as JSON, as metrics of Prometheus. Each appends to
 * `out`. */
#ifndef STATS_RENDER_H
#define STATS_RENDER_H

#include "stats/snapshot.h"

void render_status(const struct snapshot *s, struct buf *out);
void render_connections(const struct snapshot *s, struct buf *out);
void render_counters(const struct snapshot *s, struct buf *out);
void render_servers(const struct snapshot *s, struct buf *out);

/* An object in which nothing is null. */
void render_servers_json(const struct snapshot *s, struct buf *out);
/* An object; a list with one object for each connection, keys as in the access record; an object.
 */
void render_status_json(const struct snapshot *s, struct buf *out);
void render_connections_json(const struct snapshot *s, struct buf *out);
void render_counters_json(const struct snapshot *s, struct buf *out);

/* A weight in thousandths, as a number with as many decimals as it needs. */
void render_weight(uint32_t milli, struct buf *out);

/* The text format of Prometheus, version 0.0.4. */
void render_metrics(const struct snapshot *s, struct buf *out);

#endif
