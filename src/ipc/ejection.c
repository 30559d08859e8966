#include "ipc/ejection.h"

#include <string.h>

#define AGAIN_WITHIN 10 /* times its length: then the next one is twice as long */

/* ---- the state: bits 0-39 until when, 40 early, 41-63 the number ---- */

#define UNTIL_BITS  40 /* of ms: 34 years */
#define UNTIL_MASK  ((1ULL << UNTIL_BITS) - 1)
#define NUMBER_BITS (64 - UNTIL_BITS - 1)
#define NUMBER_MASK ((1u << NUMBER_BITS) - 1)

static uint64_t state_word(uint32_t number, bool early, int64_t until_ms)
{
	return (uint64_t)(number & NUMBER_MASK) << (UNTIL_BITS + 1) | (uint64_t)early << UNTIL_BITS |
	       ((uint64_t)until_ms & UNTIL_MASK);
}

static int64_t until_of(uint64_t state)
{
	return (int64_t)(state & UNTIL_MASK);
}

static bool early_of(uint64_t state)
{
	return state >> UNTIL_BITS & 1;
}

static uint32_t number_of(uint64_t state)
{
	return (uint32_t)(state >> (UNTIL_BITS + 1));
}

static uint64_t read_state(const struct ejection *e)
{
	return atomic_load_explicit(&e->state, memory_order_acquire);
}

int64_t ejection_until_ms(const struct ejection *e)
{
	return until_of(atomic_load_explicit(&e->state, memory_order_relaxed));
}

bool ejection_is_on(const struct ejection *e, int64_t now_ms)
{
	return ejection_until_ms(e) > now_ms;
}

static struct ejection_view view_of(const struct ejection *e, uint64_t state)
{
	uint32_t number = number_of(state);

	return (struct ejection_view){.number = number,
	                              .early = early_of(state),
	                              .until_ms = until_of(state),
	                              .began_ms = atomic_load(&e->term[number % 2].began_ms),
	                              .length_ms = atomic_load(&e->term[number % 2].length_ms)};
}

struct ejection_view ejection_read(const struct ejection *e)
{
	return view_of(e, read_state(e));
}

/* ---- failures in a row ---- */

/* One more, of those since the last ejection; how many that makes. */
static uint32_t count_failure(struct ejection *e, uint32_t number)
{
	unsigned long long row = atomic_load(&e->row);

	for (;;) {
		uint32_t n = row >> 32 == number ? (uint32_t)row : 0;

		if (n == UINT32_MAX)
			return n;
		if (atomic_compare_exchange_weak(&e->row, &row, (uint64_t)number << 32 | (n + 1)))
			return n + 1;
	}
}

bool ejection_failed(struct ejection *e, uint32_t after, int64_t now_ms)
{
	uint64_t state = read_state(e);

	return until_of(state) <= now_ms && count_failure(e, number_of(state)) >= after;
}

void ejection_worked(struct ejection *e)
{
	if ((uint32_t)atomic_load_explicit(&e->row, memory_order_relaxed) != 0)
		atomic_store(&e->row, 0);
}

/* ---- ejected, and back ---- */

/* Soon after the last one it is twice as long. */
static uint32_t next_length_ms(const struct ejection_view *last, const struct eject_rule *rule, int64_t now_ms)
{
	int64_t length = rule->for_ms, again = (int64_t)last->length_ms * AGAIN_WITHIN;

	if (last->number > 0 && now_ms - last->until_ms <= again && (int64_t)last->length_ms * 2 > length)
		length = (int64_t)last->length_ms * 2;
	return (uint32_t)(length < rule->max_ms ? length : rule->max_ms);
}

bool ejection_begin(struct ejection *e, const struct eject_rule *rule, bool early, int64_t now_ms, struct ejected *ret)
{
	unsigned long long state = read_state(e);
	struct ejection_view last = view_of(e, state); /* not a later one: another worker may be faster */
	uint32_t next = (number_of(state) + 1) & NUMBER_MASK, length = next_length_ms(&last, rule, now_ms);

	if (until_of(state) > now_ms)
		return false;
	/* before anybody sees it; who decides at the same moment writes much the same */
	atomic_store(&e->term[next % 2].began_ms, now_ms);
	atomic_store(&e->term[next % 2].length_ms, length);
	*ret = (struct ejected){.was = state, .is = state_word(next, early, now_ms + length)};
	return atomic_compare_exchange_strong(&e->state, &state, ret->is);
}

void ejection_withdraw(struct ejection *e, const struct ejected *what)
{
	unsigned long long state = what->is;

	atomic_compare_exchange_strong(&e->state, &state, what->was);
}

void ejection_well(struct ejection *e, int64_t check_began_ms, bool heard, int64_t now_ms)
{
	unsigned long long state = read_state(e);

	if (until_of(state) <= now_ms || (early_of(state) && !heard) ||
	    check_began_ms <= atomic_load(&e->term[number_of(state) % 2].began_ms))
		return;
	atomic_compare_exchange_strong(&e->state, &state, state_word(number_of(state), early_of(state), now_ms));
}

void ejection_say_why(const struct ejection *e, const struct experience *found, struct buf *out)
{
	struct target_health last = target_health(found);

	if (ejection_read(e).early) {
		buf_adds(out, "it ended connections before its first byte");
		return;
	}
	buf_adds(out, "clients could not connect");
	if (last.finding == FAILS)
		buf_addf(out, ": %s", target_error_text(last.error));
}

static void copy(struct ejection *to, const struct ejection *from)
{
	for (int i = 0; i < 2; i++) {
		atomic_store(&to->term[i].began_ms, atomic_load(&from->term[i].began_ms));
		atomic_store(&to->term[i].length_ms, atomic_load(&from->term[i].length_ms));
	}
	atomic_store(&to->row, atomic_load(&from->row));
	atomic_store(&to->state, atomic_load(&from->state));
}

void ejection_inherit(struct ejection *list, const struct targets *t, uint32_t i)
{
	for (uint32_t like = atomic_load(&t->n); like-- > 0;)
		if (like != i && t->spelt[like] == t->spelt[i] && strcmp(t->list[like].key, t->list[i].key) == 0) {
			copy(&list[i], &list[like]);
			return;
		}
}
