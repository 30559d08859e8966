#include "ipc/targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "ipc/hints.h"

uint64_t target_spelt(const char *key)
{
	return hash_bytes(HASH_START, key, strnlen(key, TARGET_KEY_MAX - 1));
}

static bool is_spelt(const struct targets *t, uint32_t i, uint64_t spelt, const char *key)
{
	return t->spelt[i] == spelt && strncmp(t->list[i].key, key, TARGET_KEY_MAX - 1) == 0;
}

/* What is looked for. */
struct sought {
	const struct targets *t;
	const char *key, *called;
	uint64_t spelt;
	uint32_t of_service;
};

static bool is_sought(const void *arg, uint32_t i)
{
	const struct sought *s = arg;

	return i < TARGETS_MAX && is_spelt(s->t, i, s->spelt, s->key) && s->t->list[i].of_service == s->of_service &&
	       strcmp(s->t->list[i].called, s->called) == 0;
}

static uint64_t number_of(uint64_t spelt, const char *called, uint32_t of_service)
{
	return hash_bytes(spelt ^ of_service, called, strnlen(called, CALLED_SIZE));
}

static uint64_t number_at(const void *arg, uint32_t i)
{
	const struct targets *t = ((const struct sought *)arg)->t;

	return number_of(t->spelt[i], t->list[i].called, t->list[i].of_service);
}

uint32_t targets_find(const struct targets *t, const char *key, const char *called, uint32_t of_service)
{
	static struct hints hints;
	bool is_named = called && *called;
	const struct sought s = {t, key, is_named ? called : "", target_spelt(key), is_named ? of_service : 0};
	uint32_t n = atomic_load(&t->n);
	const struct hinted wanted = {.table = t,
	                              .n = n < TARGETS_MAX ? n : TARGETS_MAX,
	                              .number = number_of(s.spelt, s.called, s.of_service),
	                              .arg = &s,
	                              .is = is_sought,
	                              .number_of = number_at};

	return hints_look_up(&hints, &wanted);
}

uint32_t targets_like(const struct targets *t, const char *key)
{
	uint64_t spelt = target_spelt(key);

	for (uint32_t i = atomic_load(&t->n); i-- > 0;)
		if (is_spelt(t, i, spelt, key))
			return i;
	return TARGET_NONE;
}

const char *target_label(const struct target *t)
{
	return t->called[0] ? t->called : t->key;
}

const char *target_line(const struct targets *t, const struct target *member)
{
	uint32_t of = atomic_load(&member->of);

	return of > 0 && of <= TARGETS_MAX ? target_label(&t->list[of - 1]) : NULL;
}

/* One that is only given a name, or another one: what was said of it still holds, and its addresses are known. */
static void inherit(struct targets *t, struct experience *experience, uint32_t i, uint32_t like)
{
	struct target *now = &t->list[i];
	const struct target *before = &t->list[like];

	if (before->of_service == 0 || before->of_service == now->of_service) {
		atomic_store(&now->admin_state, atomic_load(&before->admin_state));
		atomic_store(&now->changed.disabled, atomic_load(&before->changed.disabled));
		atomic_store(&now->changed.drained_ms, atomic_load(&before->changed.drained_ms));
		atomic_store(&experience[i].health, atomic_load(&experience[like].health));
		atomic_store(&experience[i].failed_ms, atomic_load(&experience[like].failed_ms));
	}
	target_set_addrs(now, before->addrs, atomic_load(&before->n), false);
	atomic_store(&now->state, atomic_load(&before->state));
}

/* What the configuration itself says of a server, whatever was said before: a list of another supervisor may have come
 * through hands that lie. */
static void say_again(struct target *t, const struct server *s)
{
	struct addr now[TARGET_ADDRS];

	if (s->kind != SERVER_HOST)
		atomic_store(&t->state, TARGET_RESOLVED);
	else if (s->addr.family != AF_UNSPEC && (target_addrs(t, now) != 1 || !addr_same_host(&now[0], &s->addr) ||
	                                         atomic_load(&t->state) != TARGET_RESOLVED))
		target_set_addrs(t, &s->addr, 1, false);
}

/* A place for one more: behind the last, else one that was cleared. TARGET_NONE: there is none. */
static uint32_t free_place(const struct targets *t)
{
	uint32_t n = atomic_load(&t->n);

	if (n < TARGETS_MAX)
		return n;
	for (uint32_t i = 0; i < n; i++)
		if (t->spelt[i] == 0 && t->list[i].key[0] == '\0')
			return i;
	return TARGET_NONE;
}

uint32_t targets_add(struct targets *t, struct experience *experience, const struct server *s, uint32_t of_service)
{
	uint32_t i = targets_find(t, s->key, s->called, of_service), like;
	struct target *entry;

	if (i != TARGET_NONE) {
		say_again(&t->list[i], s);
		atomic_store(&t->list[i].left_ms, 0);
		return i;
	}
	i = free_place(t);
	if (i == TARGET_NONE)
		return i;
	entry = &t->list[i];
	like = targets_like(t, s->key);
	snprintf(entry->key, sizeof(entry->key), "%s", s->key);
	t->spelt[i] = target_spelt(s->key);
	if (s->called) {
		snprintf(entry->called, sizeof(entry->called), "%s", s->called);
		entry->of_service = of_service;
	}
	if (like != TARGET_NONE)
		inherit(t, experience, i, like);
	say_again(entry, s);
	if (i == atomic_load(&t->n))
		atomic_store(&t->n, i + 1);
	return i;
}

void targets_leave_all(struct targets *t, int64_t now_ms)
{
	for (uint32_t i = 0; i < atomic_load(&t->n); i++)
		if (atomic_load(&t->list[i].left_ms) == 0)
			atomic_store(&t->list[i].left_ms, now_ms > 0 ? now_ms : 1);
}

static int compare_left(const void *a, const void *b, void *arg)
{
	const struct targets *t = arg;
	int64_t x = atomic_load(&t->list[*(const uint32_t *)a].left_ms);
	int64_t y = atomic_load(&t->list[*(const uint32_t *)b].left_ms);

	return x < y ? -1 : x > y;
}

uint32_t targets_rested(const struct targets *t, int64_t now_ms, bool (*named)(void *arg, uint32_t target), void *arg,
                        uint32_t *ret)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < atomic_load(&t->n); i++) {
		int64_t left = atomic_load(&t->list[i].left_ms);

		if (left && t->list[i].key[0] && now_ms - left > TARGET_REST_MS && !named(arg, i))
			ret[n++] = i;
	}
	qsort_r(ret, n, sizeof(*ret), compare_left, (void *)t);
	return n;
}

void targets_clear(struct targets *t, struct experience *experience, uint32_t i)
{
	struct target *entry = &t->list[i];

	t->spelt[i] = 0; /* first: it is not found any more */
	memset(entry->key, 0, sizeof(entry->key));
	memset(entry->called, 0, sizeof(entry->called));
	entry->of_service = 0;
	atomic_store(&entry->stands, 0);
	atomic_store(&entry->of, 0);
	atomic_store(&entry->admin_state, 0);
	memset((void *)&entry->changed, 0, sizeof(entry->changed));
	target_forget(entry);
	atomic_store(&entry->state, TARGET_UNKNOWN);
	atomic_fetch_add(&entry->uses, 1);
	atomic_store(&experience[i].failed_ms, 0);
	atomic_store(&experience[i].health, 0);
}

void target_set_addrs(struct target *t, const struct addr *addrs, size_t n, bool more)
{
	unsigned state = atomic_load(&t->state);

	if (n == 0) {
		if (state == TARGET_UNKNOWN || state == TARGET_PARTIAL)
			atomic_store(&t->state, state == TARGET_UNKNOWN ? TARGET_UNRESOLVED : TARGET_RESOLVED);
		return;
	}
	if (n > TARGET_ADDRS)
		n = TARGET_ADDRS;
	atomic_fetch_add(&t->sequence, 1);
	memcpy(t->addrs, addrs, n * sizeof(*addrs));
	atomic_store(&t->n, (unsigned)n);
	atomic_fetch_add(&t->sequence, 1);
	/* one that was whole is so still: it has kept its old ones of the other family */
	atomic_store(&t->state, more && state != TARGET_RESOLVED ? TARGET_PARTIAL : TARGET_RESOLVED);
}

void target_forget(struct target *t)
{
	atomic_fetch_add(&t->sequence, 1);
	atomic_store(&t->n, 0);
	atomic_fetch_add(&t->sequence, 1);
	atomic_store(&t->state, TARGET_UNRESOLVED);
}

size_t target_addrs(const struct target *t, struct addr *ret)
{
	/* Bounded: a supervisor that died in the middle of writing leaves the number odd for good; what
	 * was read then is still addresses of this name, old and new mixed. */
	for (int tries = 0; tries < 1000; tries++) {
		unsigned before = atomic_load(&t->sequence);
		size_t n = atomic_load(&t->n);

		if (n > TARGET_ADDRS)
			n = TARGET_ADDRS;
		memcpy(ret, t->addrs, n * sizeof(*ret));
		atomic_thread_fence(memory_order_acquire);
		if ((before % 2 == 0 && before == atomic_load(&t->sequence)) || tries == 999)
			return n;
	}
	return 0;
}

/* ---- health: one word, so that no reader sees halves of two ---- */

#define FINDING_BITS 2
#define ERROR_BITS   14

static uint64_t health_word(struct target_health h)
{
	return (uint64_t)h.since_ms << (FINDING_BITS + ERROR_BITS) |
	       ((uint64_t)h.error & ((1u << ERROR_BITS) - 1)) << FINDING_BITS | (uint64_t)h.finding;
}

struct target_health target_health(const struct experience *e)
{
	uint64_t word = atomic_load_explicit(&e->health, memory_order_relaxed);

	return (struct target_health){
	        .finding = (enum finding)(word & ((1u << FINDING_BITS) - 1)),
	        .error = (int)(word >> FINDING_BITS & ((1u << ERROR_BITS) - 1)),
	        .since_ms = (int64_t)(word >> (FINDING_BITS + ERROR_BITS)),
	};
}

const char *target_error_text(int error)
{
	const char *text = error == TARGET_NO_ADDRESS ? "the name does not resolve" : strerrordesc_np(error);

	return text ? text : "an error that nobody knows";
}

/* Of two workers at the same moment either may be the last one. */
static void find(struct experience *e, enum finding finding, int error, int64_t now_ms)
{
	struct target_health h = target_health(e);

	if (h.finding == finding && h.error == error)
		return;
	if (h.finding != finding)
		h.since_ms = now_ms;
	h.finding = finding;
	h.error = error;
	atomic_store_explicit(&e->health, health_word(h), memory_order_relaxed);
}

void target_failed(struct experience *e, int64_t now_ms, int error)
{
	find(e, FAILS, error, now_ms);
	atomic_store_explicit(&e->failed_ms, now_ms, memory_order_relaxed);
}

void target_not_there(struct experience *e, int64_t now_ms, int error)
{
	find(e, FAILS, error, now_ms);
}

void target_worked(struct experience *e, int64_t now_ms)
{
	find(e, WORKS, 0, now_ms);
	if (atomic_load_explicit(&e->failed_ms, memory_order_relaxed) != 0)
		atomic_store_explicit(&e->failed_ms, 0, memory_order_relaxed);
}

bool target_is_avoided(const struct experience *e, int64_t now_ms)
{
	int64_t failed = atomic_load_explicit(&e->failed_ms, memory_order_relaxed);

	return failed != 0 && now_ms - failed < TARGET_AVOID_MS;
}
