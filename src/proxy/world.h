/*
 * world.h - the few numbers that all processes of one tcpproxy share (one memfd).
 */
#ifndef PROXY_WORLD_H
#define PROXY_WORLD_H

#include <stdatomic.h>
#include <stdint.h>
#include "proxy/targets.h"
#include "takeover/table.h"

#define WORLD_MAGIC   0x7463707077303031ULL
#define WORLD_VERSION 1
#define WORLD_WORKERS 128
#define WORLD_TURNS   8192 /* pools that go round: indices of sections, modulo */

#define WORLD_LABELS  8192
#define LABEL_MAX     160
#define LABEL_NONE    UINT32_MAX

/* Where rules stand ("/etc/tcpproxy.conf:5"): append-only, written by the supervisor alone, so that a
 * number in a row says the same for ever. */
struct labels {
	atomic_uint n;
	char text[WORLD_LABELS][LABEL_MAX];
};

struct world {
	uint64_t magic;
	uint32_t version, size;
	atomic_ullong next_id;          /* of access records */
	atomic_uint n_workers;
	atomic_uint live[WORLD_WORKERS];     /* connections of each worker */
	atomic_uint disarmed[WORLD_WORKERS]; /* it does not accept now: it has more than its share */
	atomic_uint turns[WORLD_TURNS];      /* round-robin counters */
	struct targets targets;
	struct labels labels;
};

/* Returns the memfd, or -errno. */
int world_new(struct world **ret);
/* The same in private memory. NULL: no memory. */
struct world *world_new_private(void);

/* Supervisor only: the number of this text, found or added; LABEL_NONE if there is no room. */
uint32_t labels_add(struct labels *l, const char *text);
/* NULL: no such label. */
const char *labels_text(const struct labels *l, uint32_t label);

#endif
