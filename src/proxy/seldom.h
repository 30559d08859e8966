/* seldom.h - what the log is told once a minute, by whichever worker comes first: the administrator need not be told of each client. */
#ifndef PROXY_SELDOM_H
#define PROXY_SELDOM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "ipc/world.h"

#define SELDOM_MS 60000

/* Words of world->seldom. */
enum seldom { SELDOM_LOOP, SELDOM_TLVS, SELDOM_FAMILY };

/* Now? Then nobody else says it in the next minute. The words are shared: one that lies in the future says nothing. */
static inline bool seldom_now(atomic_llong *words, enum seldom which, int64_t now_ms)
{
	long long last = atomic_load_explicit(&words[which], memory_order_relaxed);

	if (last != 0 && last <= now_ms && now_ms - last < SELDOM_MS)
		return false;
	return atomic_compare_exchange_strong(&words[which], &last, now_ms);
}

#endif
