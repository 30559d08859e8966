#include "ipc/changed.h"

#include "base/clock.h"

#define DRAIN_MS_MAX (366LL * 86400 * 1000) /* a drain ends within that, or nobody has meant it */

#define HOW_SHIFT CHANGED_HOW_SHIFT
#define NUMBER    ((1u << HOW_SHIFT) - 1)

enum weight_how changed_weight_how(const struct changed *c, uint32_t *n)
{
	uint32_t word = atomic_load_explicit(&c->weight, memory_order_relaxed);

	*n = word & NUMBER;
	return (enum weight_how)(word >> HOW_SHIFT);
}

uint32_t changed_percent_of(uint32_t percent, uint32_t file)
{
	uint32_t n = (uint32_t)((uint64_t)file * percent / 100);

	return n == 0 && percent > 0 && file > 0 ? 1 : n;
}

uint32_t changed_weight(const struct changed *c, uint32_t file)
{
	uint32_t n;

	switch (changed_weight_how(c, &n)) {
	case WEIGHT_NUMBER:
		return n;
	case WEIGHT_PERCENT:
		return changed_percent_of(n, file);
	default:
		return file;
	}
}

uint32_t changed_max(const struct changed *c, uint32_t file)
{
	uint32_t word = atomic_load_explicit(&c->max, memory_order_relaxed);

	return word == CHANGED_NOT_SAID || word == CHANGED_BY_FILE ? file : word - 1;
}

void changed_set_weight(struct changed *c, enum weight_how how, uint32_t n)
{
	uint32_t number = how == WEIGHT_NUMBER || how == WEIGHT_PERCENT ? n : 0;

	atomic_store(&c->weight, (uint32_t)how << HOW_SHIFT | number);
}

void changed_forget(struct changed *c)
{
	atomic_store(&c->weight, 0);
	atomic_store(&c->max, CHANGED_NOT_SAID);
	atomic_store(&c->force, FORCE_NOT_SAID);
}

void changed_came(struct changed *c, int64_t now_ms)
{
	atomic_store(&c->came_ms, now_ms > 0 ? now_ms : 1);
}

void changed_check(struct changed *c)
{
	uint32_t weight = atomic_load(&c->weight);
	int64_t drained_ms = atomic_load(&c->drained_ms), came_ms = atomic_load(&c->came_ms);

	if (weight && (weight >> HOW_SHIFT == WEIGHT_NOT_SAID || weight >> HOW_SHIFT > WEIGHT_BY_FILE ||
	               (weight & NUMBER) > CHANGED_WEIGHT_MAX))
		atomic_store(&c->weight, 0);
	if (atomic_load(&c->max) > CHANGED_BY_FILE)
		atomic_store(&c->max, CHANGED_NOT_SAID);
	if (atomic_load(&c->force) >= FORCES)
		atomic_store(&c->force, FORCE_NOT_SAID);
	if (drained_ms < 0 || drained_ms > clock_mono_ms() + DRAIN_MS_MAX)
		atomic_store(&c->drained_ms, 0);
	if (came_ms < 0 || came_ms > clock_mono_ms())
		atomic_store(&c->came_ms, 0);
	atomic_store(&c->disabled, atomic_load(&c->disabled) != 0);
}
