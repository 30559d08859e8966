/*
 * counters.h - what is counted, in shared memory: a page of numbers for each service and each
 * server, one set for each worker.
 *
 * Only the worker writes its own set, so no store waits; every process may read. The set
 * outlives its worker, and goes on counting under the next one. Numbers only grow. A worker that is
 * killed between a step and its count loses that one count; nothing is counted twice.
 */
#ifndef STATS_COUNTERS_H
#define STATS_COUNTERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include "base/const.h"

#define COUNTED_SERVICES 512 /* those beyond share the last place */
#define COUNTED_SERVERS  16384
#define COUNTED_ENDS     32 /* room for enum end */
#define COUNTED_WHYS     64 /* and for enum why */
#define HISTOGRAM_BOUNDS 14

enum counter {
#define COUNTER(name, service_metric, server_metric, service_help, server_help) COUNT_##name,
#include "stats/counters.def"
#undef COUNTER
	COUNTERS
};

struct counter_info {
	const char *name;
	const char *service_metric, *server_metric; /* NULL: not of these */
	const char *service_help, *server_help;
};
extern const struct counter_info counter_info[COUNTERS];

/* How many times took so long; the last bucket is beyond all bounds. */
struct histogram {
	atomic_ullong buckets[HISTOGRAM_BOUNDS + 1];
	atomic_ullong sum_us;
};
extern const int64_t connect_bounds_us[HISTOGRAM_BOUNDS]; /* upper, inclusive */
extern const int64_t duration_bounds_us[HISTOGRAM_BOUNDS];

/* Headers of the PROXY protocol that have come to a service: by version, and what was wrong with others. */
enum header_kind { HEADER_V1, HEADER_V2, HEADER_LOCAL, HEADER_NONE, HEADER_PROBE, HEADER_KINDS };
extern const char *const header_kind_names[HEADER_KINDS];
#define HEADER_ERRORS 16 /* room for those of enum why, from WHY_TIMEOUT on */

/* Of one service or one server. Numbers only. */
struct counted {
	atomic_ullong values[COUNTERS];
	atomic_ullong ends[COUNTED_ENDS]; /* by enum end */
	struct histogram connect, duration;
	/* of a service */
	atomic_ullong headers[HEADER_KINDS], header_errors[HEADER_ERRORS];
	atomic_ullong refused[COUNTED_WHYS]; /* clients, by enum why */
};

struct counters {
	struct counted services[COUNTED_SERVICES];
	struct counted servers[COUNTED_SERVERS];
};

struct counted *counters_service(const struct counters *c, uint32_t number);
struct counted *counters_server(const struct counters *c, uint32_t number);
/* A reader gets them to read. */
#define counters_service(c, number) CONST_AS(c, counters_service(c, number))
#define counters_server(c, number)  CONST_AS(c, counters_server(c, number))

/* The writer's. One writer: a plain addition, but seen whole by readers. */
static inline void count_more(atomic_ullong *word, uint64_t n)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void count(struct counted *c, enum counter which, uint64_t n)
{
	count_more(&c->values[which], n);
}

void count_time(struct histogram *h, const int64_t *bounds_us, int64_t us);

/* A reader's: adds what one worker counted to a sum of several. */
void counted_add(struct counted *sum, const struct counted *c);
/* The opposite; nothing goes below 0. */
void counted_take_off(struct counted *sum, const struct counted *c);

#endif
