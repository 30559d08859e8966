#include "ipc/spots.h"

#include <stddef.h>
#include <string.h>
#include "base/hash.h"
#include "ipc/told_state.h"
#include "ipc/world.h"

static uint64_t who_is(uint32_t service, uint32_t target)
{
	return ((uint64_t)service + 1) << 32 | ((uint64_t)target + 1);
}

/* The slot in which it may be after so many others. */
static uint32_t slot(uint64_t who, uint32_t probe)
{
	return ((uint32_t)hash_bytes(HASH_START, &who, sizeof(who)) + probe) % SPOTS_MAX;
}

const struct spot *spots_find(const struct spots *p, uint32_t service, uint32_t target)
{
	uint64_t who = who_is(service, target), now = who;

	if (atomic_load_explicit(&p->n, memory_order_relaxed) == 0)
		return NULL;
	for (uint32_t i = 0; i < SPOTS_PROBES && now; i++) {
		const struct spot *spot = &p->list[slot(who, i)];

		now = atomic_load_explicit(&spot->who, memory_order_acquire);
		if (now == who)
			return spot;
	}
	return NULL;
}

bool spot_speaks(const struct spot *p)
{
	const struct changed *c = &p->changed;

	return atomic_load(&p->who) && (atomic_load(&p->admin_state) || atomic_load(&c->weight) ||
	                                atomic_load(&c->max) || atomic_load(&c->force) || atomic_load(&p->told));
}

void spot_forget(struct spot *p)
{
	atomic_store(&p->admin_state, ADMIN_STATE_BY_FILE);
	changed_forget(&p->changed);
	atomic_store(&p->changed.drained_ms, 0);
	atomic_store(&p->told, 0);
}

/* The first slot that is free, or of which nothing is said. */
static struct spot *free_slot(struct spots *p, uint64_t who)
{
	for (uint32_t i = 0; i < SPOTS_PROBES; i++) {
		struct spot *spot = &p->list[slot(who, i)];

		if (!spot_speaks(spot))
			return spot;
	}
	return NULL;
}

struct spot *spots_add(struct spots *p, uint32_t service, uint32_t target)
{
	uint64_t who = who_is(service, target);
	struct spot *spot = (struct spot *)spots_find(p, service, target);

	if (spot)
		return spot;
	spot = free_slot(p, who);
	if (!spot)
		return NULL;
	spot_forget(spot);
	atomic_store(&spot->changed.came_ms, 0);
	atomic_store(&spot->changed.line, 0);
	atomic_store(&spot->changed.disabled, 0);
	if (atomic_exchange(&spot->who, who) == 0)
		atomic_fetch_add(&p->n, 1);
	return spot;
}

void spots_forget_target(struct spots *p, uint32_t target)
{
	for (uint32_t i = 0; i < SPOTS_MAX && atomic_load(&p->n) > 0; i++)
		if (atomic_load(&p->list[i].who) && spot_target(&p->list[i]) == target)
			spot_forget(&p->list[i]);
}

void spots_copy(struct spots *now, const struct spots *before, uint32_t n_services, uint32_t n_targets)
{
	for (uint32_t i = 0; i < SPOTS_MAX && atomic_load(&before->n) > 0; i++) {
		const struct spot *from = &before->list[i];
		struct spot *to;

		if (!spot_speaks(from) || spot_service(from) >= n_services || spot_target(from) >= n_targets)
			continue;
		to = spots_add(now, spot_service(from), spot_target(from));
		if (!to)
			continue;
		atomic_store(&to->admin_state, atomic_load(&from->admin_state));
		if (atomic_load(&to->admin_state) > ADMIN_STATE_DISABLED)
			atomic_store(&to->admin_state, ADMIN_STATE_BY_FILE);
		memcpy((void *)&to->changed, &from->changed, sizeof(to->changed));
		changed_check(&to->changed);
		atomic_store(&to->told, atomic_load(&from->told));
		told_state_check(&to->told);
	}
}
