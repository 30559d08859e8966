#include "base/ring.h"

#include <stdatomic.h>
#include <string.h>

#include "base/check.h"

/*
 * head and tail count bytes since the beginning and never go back; a place in the ring is the
 * count modulo the capacity. Messages begin at multiples of 8 and lie in one piece: what is left
 * at the end of the area is skipped with a message of type PADDING.
 */
#define ALIGNMENT 8
#define PADDING   UINT32_MAX

struct ring {
	_Alignas(64) _Atomic uint64_t head; /* the writer's */
	_Atomic uint64_t lost;              /* added by both, taken by the reader */
	uint64_t capacity;                  /* of earlier versions; never believed */
	_Alignas(64) _Atomic uint64_t tail; /* the reader's */
	_Alignas(64) unsigned char area[];
};

struct message {
	uint32_t len;
	uint32_t type;
	unsigned char data[];
};

_Static_assert(sizeof(struct message) == ALIGNMENT, "any gap has room for the head of a padding");

static uint64_t round_up(uint64_t n)
{
	return (n + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}

static struct message *message_at(struct ring *r, uint64_t capacity, uint64_t count)
{
	return (struct message *)(r->area + (count & (capacity - 1)));
}

static uint64_t until_end(uint64_t capacity, uint64_t count)
{
	return capacity - (count & (capacity - 1));
}

size_t ring_size(size_t capacity)
{
	return sizeof(struct ring) + capacity;
}

struct ring *ring_init(void *mem, size_t capacity)
{
	struct ring *r = mem;

	CHECK(capacity >= 64 && capacity <= UINT32_MAX / 2 && !(capacity & (capacity - 1)));
	CHECK((uintptr_t)mem % _Alignof(struct ring) == 0);
	r->capacity = capacity;
	return r;
}

/* ---- writer ---- */

bool ring_put(struct ring *r, size_t capacity, uint32_t type, const void *data, size_t len)
{
	/* Rounded up, because a broken writer before us may have left anything. */
	uint64_t head = round_up(atomic_load_explicit(&r->head, memory_order_relaxed));
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	uint64_t need = round_up(sizeof(struct message) + len);
	uint64_t gap = until_end(capacity, head);
	uint64_t skip = gap < need ? gap : 0;
	struct message *m;

	if (len > capacity / 4 || head - tail > capacity || capacity - (head - tail) < skip + need) {
		atomic_fetch_add_explicit(&r->lost, 1, memory_order_relaxed);
		return false;
	}
	if (skip) {
		*message_at(r, capacity, head) = (struct message){.type = PADDING};
		head += skip;
	}
	m = message_at(r, capacity, head);
	*m = (struct message){.len = (uint32_t)len, .type = type};
	if (len)
		memcpy(m->data, data, len);
	atomic_store_explicit(&r->head, head + need, memory_order_release);
	return true;
}

/* ---- reader ---- */

enum found { FOUND_NONE, FOUND_MESSAGE, FOUND_SPOILED };

/* The head of the message at `at` is copied to *ret; false if it reaches beyond `used` bytes. */
static bool read_head(struct ring *r, uint64_t capacity, uint64_t at, uint64_t used, struct message *ret)
{
	const volatile struct message *m = message_at(r, capacity, at);
	uint64_t gap = until_end(capacity, at);
	uint64_t room = gap < used ? gap : used;

	/* Once: the writer might change it between a check and its use. */
	*ret = (struct message){.len = m->len, .type = m->type};
	if (ret->type == PADDING)
		return gap < used;
	return ret->len <= capacity / 4 && round_up(sizeof(*m) + ret->len) <= room;
}

/* The oldest message: its place and a copy of its head. */
static enum found find(struct ring *r, uint64_t capacity, uint64_t *at, struct message *m)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);

	if (head == tail)
		return FOUND_NONE;
	*at = round_up(tail);
	if (head - *at > capacity || !read_head(r, capacity, *at, head - *at, m))
		return FOUND_SPOILED;
	if (m->type != PADDING)
		return FOUND_MESSAGE;
	*at += until_end(capacity, *at);
	if (!read_head(r, capacity, *at, head - *at, m) || m->type == PADDING)
		return FOUND_SPOILED;
	return FOUND_MESSAGE;
}

static void make_empty(struct ring *r)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);

	atomic_store_explicit(&r->tail, head, memory_order_release);
	atomic_fetch_add_explicit(&r->lost, 1, memory_order_relaxed);
}

bool ring_peek(struct ring *r, size_t capacity, uint32_t *type, const void **data, size_t *len)
{
	struct message m;
	uint64_t at;
	enum found found = find(r, capacity, &at, &m);

	if (found == FOUND_SPOILED)
		make_empty(r);
	if (found != FOUND_MESSAGE)
		return false;
	*type = m.type;
	*data = message_at(r, capacity, at)->data;
	*len = m.len;
	return true;
}

void ring_drop(struct ring *r, size_t capacity)
{
	struct message m;
	uint64_t at;
	enum found found = find(r, capacity, &at, &m);

	if (found == FOUND_SPOILED)
		make_empty(r);
	else if (found == FOUND_MESSAGE)
		atomic_store_explicit(&r->tail, at + round_up(sizeof(m) + m.len), memory_order_release);
}

uint64_t ring_take_lost(struct ring *r)
{
	return atomic_exchange_explicit(&r->lost, 0, memory_order_relaxed);
}

bool ring_empty(const struct ring *r)
{
	return atomic_load_explicit(&r->head, memory_order_acquire) ==
	       atomic_load_explicit(&r->tail, memory_order_relaxed);
}

uint64_t ring_head(const struct ring *r)
{
	return atomic_load_explicit(&r->head, memory_order_relaxed);
}
