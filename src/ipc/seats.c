#include "ipc/seats.h"

#include <stdio.h>
#include <string.h>
#include "base/hash.h"
#include "ipc/hints.h"

uint64_t seat_asks(const struct section *section, const struct server *server, uint16_t port)
{
	uint64_t h = HASH_START;

	if (section->n_checks == 0 || server->kind == SERVER_PROGRAM)
		return 0;
	h = hash_bytes(h, server->key, strlen(server->key) + 1);
	h = hash_bytes(h, &section->source.family, sizeof(section->source.family));
	h = hash_bytes(h, section->source.ip, sizeof(section->source.ip)); /* its scope may change */
	if (section->device)
		h = hash_bytes(h, section->device, strlen(section->device) + 1);
	if (section->netns)
		h = hash_bytes(h, section->netns, strlen(section->netns) + 1);
	if (section->mark)
		h = hash_bytes(h, &section->mark, sizeof(section->mark));
	for (size_t i = 0; i < section->n_checks; i++) {
		const struct check_line *line = &section->checks[i];
		uint16_t at = line->port ? line->port : port;
		uint8_t proxy = check_proxy_version(section, server, line);

		h = hash_bytes(h, &at, sizeof(at));
		h = hash_bytes(h, line->what, strlen(line->what) + 1);
		if (proxy)
			h = hash_bytes(h, &proxy, sizeof(proxy));
	}
	return h ? h : 1;
}

/* ---- which there are ---- */

static unsigned count(const struct seats *s)
{
	unsigned n = atomic_load(&s->n);

	return n < SEATS_MAX ? n : SEATS_MAX;
}

/* What is looked for. */
struct sought {
	const struct seats *s;
	uint64_t asks;
	uint32_t target;
};

static bool is_sought(const void *arg, uint32_t i)
{
	const struct sought *s = arg;

	return i < SEATS_MAX && atomic_load_explicit(&s->s->list[i].asks, memory_order_relaxed) == s->asks &&
	       atomic_load_explicit(&s->s->list[i].target, memory_order_relaxed) == s->target;
}

static uint64_t number_of(uint64_t asks, uint32_t target)
{
	return hash_bytes(asks, &target, sizeof(target));
}

static uint64_t number_at(const void *arg, uint32_t i)
{
	const struct seats *s = ((const struct sought *)arg)->s;

	return number_of(atomic_load(&s->list[i].asks), atomic_load(&s->list[i].target));
}

uint32_t seats_find(const struct seats *s, uint32_t target, uint64_t asks)
{
	static struct hints hints;
	const struct sought sought = {s, asks, target};
	const struct hinted wanted = {.table = s,
	                              .n = count(s),
	                              .number = number_of(asks, target),
	                              .arg = &sought,
	                              .is = is_sought,
	                              .number_of = number_at};

	return asks ? hints_look_up(&hints, &wanted) : SEAT_NONE;
}

void seats_leave_all(struct seats *s, int64_t now_ms)
{
	for (uint32_t i = 0; i < count(s); i++)
		if (atomic_load(&s->list[i].left_ms) == 0)
			atomic_store(&s->list[i].left_ms, now_ms > 0 ? now_ms : 1);
}

/* The one that was left first, if that is long enough ago; else SEAT_NONE. */
static uint32_t rested(const struct seats *s, int64_t now_ms)
{
	uint32_t best = SEAT_NONE;

	for (uint32_t i = 0; i < count(s); i++) {
		int64_t left = atomic_load(&s->list[i].left_ms);

		if (left && now_ms - left > SEAT_REST_MS &&
		    (best == SEAT_NONE || left < atomic_load(&s->list[best].left_ms)))
			best = i;
	}
	return best;
}

uint32_t seats_add(struct seats *s, uint32_t target, uint64_t asks, int64_t now_ms)
{
	uint32_t i = seats_find(s, target, asks);

	if (asks == 0)
		return SEAT_NONE;
	if (i == SEAT_NONE) {
		unsigned n = count(s);

		i = n < SEATS_MAX ? n : rested(s, now_ms);
		if (i == SEAT_NONE)
			return i;
		atomic_store(&s->list[i].told, 0);
		atomic_store(&s->list[i].target, target);
		atomic_store(&s->list[i].asks, asks);
		if (i == n)
			atomic_store(&s->n, n + 1);
	}
	atomic_store(&s->list[i].left_ms, 0);
	return i;
}

/* ---- what is known ---- */

#define STATE_BITS 2

struct health_view health_read(const struct health *h, uint64_t asks)
{
	uint64_t word = atomic_load_explicit(&h->state, memory_order_relaxed);
	unsigned state = word & ((1u << STATE_BITS) - 1);

	if (atomic_load_explicit(&h->asks, memory_order_relaxed) != asks || state > HEALTH_DOWN)
		return (struct health_view){.state = HEALTH_UNKNOWN};
	return (struct health_view){.state = (enum health_state)state, .since_ms = (int64_t)(word >> STATE_BITS)};
}

/* ---- agents: one word, so that no reader sees halves of two ----
 *
 * bits 0 down, 1 drain, 2 maint, 3 a weight was said, 4 it is in per cent, 5 a max was said, 8-23 weight, 24-54 max */

#define AGENT_MAX_MASK 0x7fffffffULL

struct agent_view agent_read(const struct health *h, uint64_t asks)
{
	uint64_t word = atomic_load_explicit(&h->agent, memory_order_relaxed);

	if (atomic_load_explicit(&h->asks, memory_order_relaxed) != asks)
		return AGENT_SILENT;
	return (struct agent_view){.down = word & 1,
	                           .drain = word >> 1 & 1,
	                           .maint = word >> 2 & 1,
	                           .in_percent = word >> 4 & 1,
	                           .weight = word >> 3 & 1 ? (int32_t)(word >> 8 & AGENT_WEIGHT_MAX) : -1,
	                           .max = word >> 5 & 1 ? (int64_t)(word >> 24 & AGENT_MAX_MASK) : -1};
}

void agent_set(struct health *h, const struct agent_view *v)
{
	uint64_t word =
	        (uint64_t)v->down | (uint64_t)v->drain << 1 | (uint64_t)v->maint << 2 | (uint64_t)v->in_percent << 4;

	if (v->weight >= 0)
		word |= 1ULL << 3 | ((uint64_t)v->weight & AGENT_WEIGHT_MAX) << 8;
	if (v->max >= 0)
		word |= 1ULL << 5 | ((uint64_t)v->max & AGENT_MAX_MASK) << 24;
	atomic_store_explicit(&h->agent, word, memory_order_relaxed);
}

void health_begin(struct health *h, uint64_t asks)
{
	if (atomic_load(&h->asks) == asks)
		return;
	atomic_store(&h->asks, 0); /* nothing is known of any seat */
	atomic_store(&h->state, HEALTH_UNKNOWN);
	atomic_store(&h->agent, 0);
	for (int i = 0; i < CHECK_LINES_MAX; i++) {
		atomic_store(&h->pulses[i], 0);
		atomic_store(&h->asked[i], 0);
	}
	for (int i = 0; i < 3; i++) {
		atomic_store(&h->answers[i], 0);
		atomic_store(&h->changes[i], 0);
	}
	atomic_store(&h->took_us, 0);
	atomic_store(&h->answered_ms, 0);
	health_say(h, "");
	atomic_store(&h->asks, asks);
}

void health_set(struct health *h, enum health_state state, int64_t now_ms)
{
	atomic_store_explicit(&h->state, (uint64_t)now_ms << STATE_BITS | state, memory_order_release);
	atomic_fetch_add_explicit(&h->changes[state], 1, memory_order_relaxed);
}

void health_asked(struct health *h, uint32_t line, int64_t began_ms, bool yes)
{
	atomic_store_explicit(&h->asked[line], (uint64_t)began_ms << 1 | yes, memory_order_release);
}

bool health_answered(const struct health *h, uint32_t line, int64_t since_ms, bool *yes)
{
	uint64_t word = atomic_load_explicit(&h->asked[line], memory_order_acquire);

	*yes = word & 1;
	return (int64_t)(word >> 1) >= since_ms;
}

void health_say(struct health *h, const char *words)
{
	unsigned odd = atomic_load(&h->sequence) | 1; /* a checker may have died in the middle */

	atomic_store(&h->sequence, odd);
	atomic_thread_fence(memory_order_release);
	snprintf(h->words, sizeof(h->words), "%s", words);
	atomic_store_explicit(&h->sequence, odd + 1, memory_order_release);
}

void health_words(const struct health *h, char *ret)
{
	for (int tries = 0; tries < 100; tries++) {
		unsigned before = atomic_load_explicit(&h->sequence, memory_order_acquire);

		memcpy(ret, h->words, HEALTH_WORDS);
		atomic_thread_fence(memory_order_acquire);
		if (before % 2 == 0 && before == atomic_load(&h->sequence))
			break;
	}
	ret[HEALTH_WORDS - 1] = '\0';
}

const char *health_name(enum health_state state)
{
	static const char *const names[] = {[HEALTH_UNKNOWN] = "unknown", [HEALTH_UP] = "up", [HEALTH_DOWN] = "down"};

	return state <= HEALTH_DOWN ? names[state] : names[HEALTH_UNKNOWN];
}
