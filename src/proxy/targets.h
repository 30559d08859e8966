/*
 * targets.h - the servers of the configuration, in memory that all processes share.
 *
 * One entry per spelling ("mail.example:25"), kept across reloads: its addresses, and whether a
 * connection to it failed lately. The supervisor writes addresses (it resolves), workers read them
 * and note failures. An entry's addresses are guarded by a sequence number that is odd while they are
 * being written.
 */
#ifndef PROXY_TARGETS_H
#define PROXY_TARGETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "config/config.h"

#define TARGETS_MAX      4096
#define TARGET_ADDRS     16
#define TARGET_KEY_MAX   280
#define TARGET_NONE      UINT32_MAX
#define TARGET_AVOID_MS  10000 /* one that failed is tried last for so long */

enum target_state {
	TARGET_UNKNOWN,    /* not answered yet: clients wait */
	TARGET_RESOLVED,   /* has addresses */
	TARGET_UNRESOLVED, /* the last answer was: no such name, and there never was a good one */
};

struct target {
	atomic_uint sequence;
	atomic_uint state;          /* enum target_state */
	atomic_uint n;
	struct addr addrs[TARGET_ADDRS]; /* port 0 */
	atomic_llong failed_ms;     /* monotonic; 0: not lately */
	atomic_uint standing;       /* enum standing, world.h */
	char key[TARGET_KEY_MAX];   /* set before the entry is counted */
};

struct targets {
	atomic_uint n;
	struct target list[TARGETS_MAX];
};

/* The entry of this server, or TARGET_NONE. Linear; for configuration loads. */
uint32_t targets_find(const struct targets *t, const char *key);
/* Supervisor only: found or added. TARGET_NONE: the table is full. */
uint32_t targets_add(struct targets *t, const struct server *s);
/* Supervisor only. n 0: says that it does not resolve; a good answer of earlier stays. */
void target_set_addrs(struct target *t, const struct addr *addrs, size_t n);

/* A consistent copy of the addresses (room for TARGET_ADDRS); returns how many. */
size_t target_addrs(const struct target *t, struct addr *ret);

void target_failed(struct target *t, int64_t now_ms);
void target_worked(struct target *t);
bool target_is_avoided(const struct target *t, int64_t now_ms);

#endif
