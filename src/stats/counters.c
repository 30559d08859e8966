#include "stats/counters.h"

#define MS 1000LL
#define S  (1000 * MS)

const struct counter_info counter_info[COUNTERS] = {
#define COUNTER(name, service_metric, server_metric, service_help, server_help) \
	{#name, service_metric, server_metric, service_help, server_help},
#include "stats/counters.def"
#undef COUNTER
};

const char *const header_kind_names[HEADER_KINDS] = {"1", "2", "local", "none", "probe"};

const int64_t connect_bounds_us[HISTOGRAM_BOUNDS] = {
        MS / 2, MS, 2 * MS, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS, S, 3 * S, 10 * S, 30 * S,
};

const int64_t duration_bounds_us[HISTOGRAM_BOUNDS] = {
        MS,     5 * MS, 25 * MS, 100 * MS, 500 * MS, S,         5 * S,
        15 * S, 60 * S, 300 * S, 900 * S,  3600 * S, 14400 * S, 86400 * S,
};

struct counted *(counters_service)(const struct counters *c, uint32_t number)
{
	return (struct counted *)&c->services[number < COUNTED_SERVICES ? number : COUNTED_SERVICES - 1];
}

struct counted *(counters_server)(const struct counters *c, uint32_t number)
{
	return (struct counted *)&c->servers[number < COUNTED_SERVERS ? number : COUNTED_SERVERS - 1];
}

void count_time(struct histogram *h, const int64_t *bounds_us, int64_t us)
{
	int i = 0;

	while (i < HISTOGRAM_BOUNDS && us > bounds_us[i])
		i++;
	count_more(&h->buckets[i], 1);
	count_more(&h->sum_us, us > 0 ? (uint64_t)us : 0);
}

/* It is numbers and nothing else: who adds two, or takes one off another, cannot forget a member. */
#define NUMBERS (sizeof(struct counted) / sizeof(atomic_ullong))
_Static_assert(sizeof(struct counted) % sizeof(atomic_ullong) == 0, "numbers only");

void counted_add(struct counted *sum, const struct counted *c)
{
	const atomic_ullong *more = (const atomic_ullong *)c;
	atomic_ullong *word = (atomic_ullong *)sum;

	for (size_t i = 0; i < NUMBERS; i++)
		count_more(&word[i], atomic_load_explicit(&more[i], memory_order_relaxed));
}

void counted_take_off(struct counted *sum, const struct counted *c)
{
	const atomic_ullong *less = (const atomic_ullong *)c;
	atomic_ullong *word = (atomic_ullong *)sum;

	for (size_t i = 0; i < NUMBERS; i++) {
		uint64_t now = atomic_load_explicit(&word[i], memory_order_relaxed);
		uint64_t off = atomic_load_explicit(&less[i], memory_order_relaxed);

		atomic_store_explicit(&word[i], now > off ? now - off : 0, memory_order_relaxed);
	}
}
