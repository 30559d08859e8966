#include "proxy/targets.h"

#include <stdio.h>
#include <string.h>

uint32_t targets_find(const struct targets *t, const char *key)
{
	uint32_t n = atomic_load(&t->n);

	for (uint32_t i = 0; i < n; i++)
		if (strncmp(t->list[i].key, key, TARGET_KEY_MAX - 1) == 0)
			return i;
	return TARGET_NONE;
}

uint32_t targets_add(struct targets *t, const struct server *s)
{
	uint32_t i = targets_find(t, s->key);
	struct target *entry;

	if (i != TARGET_NONE)
		return i;
	i = atomic_load(&t->n);
	if (i == TARGETS_MAX)
		return TARGET_NONE;
	entry = &t->list[i];
	snprintf(entry->key, sizeof(entry->key), "%s", s->key);
	if (s->kind == SERVER_HOST && s->addr.family != AF_UNSPEC)
		target_set_addrs(entry, &s->addr, 1);
	else if (s->kind != SERVER_HOST)
		atomic_store(&entry->state, TARGET_RESOLVED);
	atomic_store(&t->n, i + 1);
	return i;
}

void target_set_addrs(struct target *t, const struct addr *addrs, size_t n)
{
	if (n == 0) {
		if (atomic_load(&t->state) == TARGET_UNKNOWN)
			atomic_store(&t->state, TARGET_UNRESOLVED);
		return;
	}
	if (n > TARGET_ADDRS)
		n = TARGET_ADDRS;
	atomic_fetch_add(&t->sequence, 1);
	memcpy(t->addrs, addrs, n * sizeof(*addrs));
	atomic_store(&t->n, (unsigned)n);
	atomic_fetch_add(&t->sequence, 1);
	atomic_store(&t->state, TARGET_RESOLVED);
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

void target_failed(struct target *t, int64_t now_ms)
{
	atomic_store_explicit(&t->failed_ms, now_ms, memory_order_relaxed);
}

void target_worked(struct target *t)
{
	if (atomic_load_explicit(&t->failed_ms, memory_order_relaxed) != 0)
		atomic_store_explicit(&t->failed_ms, 0, memory_order_relaxed);
}

bool target_is_avoided(const struct target *t, int64_t now_ms)
{
	int64_t failed = atomic_load_explicit(&t->failed_ms, memory_order_relaxed);

	return failed != 0 && now_ms - failed < TARGET_AVOID_MS;
}
