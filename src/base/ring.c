#include "base/ring.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

/*
 * head and tail count bytes since the beginning and never go back; a place in the ring is the
 * count modulo the capacity. Messages begin at multiples of 8 and lie in one piece: what is left
 * at the end of the area is skipped with a message of type PADDING.
 */
#define ALIGNMENT 8
#define PADDING   UINT32_MAX

struct shared {
	_Alignas(64) _Atomic uint64_t head; /* the writer's */
	_Atomic uint64_t lost;              /* added by the writer, taken by the reader */
	_Alignas(64) _Atomic uint64_t tail; /* the reader's */
	_Alignas(64) unsigned char area[];
};

struct message {
	uint32_t len;
	uint32_t type;
	unsigned char data[];
};

struct ring {
	struct shared *shared;
	uint64_t capacity;
	uint64_t next; /* reader: the tail behind the message that was peeked */
	bool peeked;
};

_Static_assert(sizeof(struct message) == ALIGNMENT, "padding may be a bare head");

static uint64_t round_up(uint64_t n)
{
	return (n + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}

static struct message *message_at(const struct ring *r, uint64_t count)
{
	return (struct message *)(r->shared->area + (count & (r->capacity - 1)));
}

static uint64_t until_end(const struct ring *r, uint64_t count)
{
	return r->capacity - (count & (r->capacity - 1));
}

size_t ring_size(size_t capacity)
{
	return sizeof(struct shared) + capacity;
}

struct ring *ring_init(void *mem, size_t capacity)
{
	struct ring *r = mem_alloc(sizeof(*r));

	CHECK(capacity >= 64 && capacity <= UINT32_MAX / 2 && !(capacity & (capacity - 1)));
	CHECK((uintptr_t)mem % _Alignof(struct shared) == 0);
	*r = (struct ring){.shared = mem, .capacity = capacity};
	return r;
}

void ring_free(struct ring *r)
{
	free(r);
}

bool ring_put(struct ring *r, uint32_t type, const void *data, size_t len)
{
	struct shared *s = r->shared;
	/* Rounded up, because a broken writer before us may have left anything. */
	uint64_t head = round_up(atomic_load_explicit(&s->head, memory_order_relaxed));
	uint64_t tail = atomic_load_explicit(&s->tail, memory_order_acquire);
	uint64_t need = round_up(sizeof(struct message) + len);
	uint64_t skip = until_end(r, head) < need ? until_end(r, head) : 0;
	struct message *m;

	if (len > r->capacity / 4 || head - tail > r->capacity ||
	    r->capacity - (head - tail) < skip + need) {
		atomic_fetch_add_explicit(&s->lost, 1, memory_order_relaxed);
		return false;
	}
	if (skip) {
		*message_at(r, head) = (struct message){.type = PADDING};
		head += skip;
	}
	m = message_at(r, head);
	*m = (struct message){.len = (uint32_t)len, .type = type};
	if (len)
		memcpy(m->data, data, len);
	atomic_store_explicit(&s->head, head + need, memory_order_release);
	return true;
}

/* The whole message at `at` as a copy of its head; false if it cannot be one. */
static bool read_head(const struct ring *r, uint64_t at, uint64_t used, struct message *ret)
{
	const volatile struct message *m = message_at(r, at);
	uint64_t room = until_end(r, at) < used ? until_end(r, at) : used;

	/* Once: the writer might change it between a check and its use. */
	*ret = (struct message){.len = m->len, .type = m->type};
	if (ret->type == PADDING)
		return until_end(r, at) < used;
	return ret->len <= r->capacity / 4 && round_up(sizeof(*m) + ret->len) <= room;
}

bool ring_peek(struct ring *r, uint32_t *type, const void **data, size_t *len)
{
	struct shared *s = r->shared;
	uint64_t tail = atomic_load_explicit(&s->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&s->head, memory_order_acquire);
	uint64_t at = round_up(tail);
	struct message m;

	r->peeked = false;
	if (head == tail)
		return false;
	if (head - at > r->capacity || head % ALIGNMENT || !read_head(r, at, head - at, &m))
		goto spoiled;
	if (m.type == PADDING) {
		at += until_end(r, at);
		if (!read_head(r, at, head - at, &m) || m.type == PADDING)
			goto spoiled;
	}
	*type = m.type;
	*data = message_at(r, at)->data;
	*len = m.len;
	r->next = at + round_up(sizeof(m) + m.len);
	r->peeked = true;
	return true;

spoiled:
	atomic_store_explicit(&s->tail, head, memory_order_release);
	atomic_fetch_add_explicit(&s->lost, 1, memory_order_relaxed);
	return false;
}

void ring_drop(struct ring *r)
{
	if (r->peeked)
		atomic_store_explicit(&r->shared->tail, r->next, memory_order_release);
	r->peeked = false;
}

uint64_t ring_take_lost(struct ring *r)
{
	return atomic_exchange_explicit(&r->shared->lost, 0, memory_order_relaxed);
}

bool ring_empty(const struct ring *r)
{
	return atomic_load_explicit(&r->shared->head, memory_order_acquire) ==
	       atomic_load_explicit(&r->shared->tail, memory_order_relaxed);
}
