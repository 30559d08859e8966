/*
 * targets.h - the servers of the configuration, in memory that all processes share.
 *
 * One entry per spelling ("mail.example:25"), and one of its own for each that has a name in a service, kept across
 * reloads: its addresses, and whether a connection to it failed lately. The supervisor writes addresses (it resolves),
 * workers can only read them, and note failures beside them. An entry's addresses are guarded by a sequence number that is
 * odd while they are being written.
 */
#ifndef IPC_TARGETS_H
#define IPC_TARGETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "config/config.h"
#include "ipc/changed.h"

#define TARGETS_MAX 16384
#define TARGET_REST_MS \
	60000 /* one that no configuration has had for so long may become another, when the table is full */
#define TARGET_ADDRS    16
#define TARGET_KEY_MAX  280
#define TARGET_NONE     UINT32_MAX
#define TARGET_AVOID_MS 10000 /* one that failed is tried last for so long */

enum target_state {
	TARGET_UNKNOWN,    /* not answered yet: clients wait */
	TARGET_RESOLVED,   /* has addresses */
	TARGET_UNRESOLVED, /* the last answer was: no such name, and there never was a good one */
	TARGET_PARTIAL,    /* has addresses of one family; whether there are others is still being asked */
};

/* What a choice looks at stands first. */
struct target {
	_Alignas(64) atomic_uint admin_state; /* enum admin_state, world.h */
	atomic_uint state;                    /* enum target_state */
	struct changed changed;
	atomic_uint of;     /* number, and one, of the line of which it is a member (`each`, srv:); 0: of none */
	atomic_uint stands; /* it is such a line: no server, but what is said of it is said of all its members */
	atomic_uint sequence;
	atomic_uint n;
	atomic_ullong told;              /* what was told of it last where it is not checked (server_state.h) */
	struct addr addrs[TARGET_ADDRS]; /* port 0 */
	char key[TARGET_KEY_MAX];        /* set before the entry is counted */
	char called[CALLED_SIZE];        /* its name, if it has one: set before, too */
	atomic_llong left_ms;            /* monotonic: since then no configuration has it; 0: the present one does */
	atomic_uint uses;    /* servers that this entry was before: what was counted of them is not its own */
	uint32_t of_service; /* number, and one, of the service in which it has the name; 0: it has none */
};

/* What clients find, written by workers. */
struct experience {
	atomic_llong failed_ms; /* monotonic; 0: not lately */
	atomic_ullong health;   /* what its last client found: target_health */
};

struct targets {
	atomic_uint n;
	uint64_t spelt[TARGETS_MAX]; /* of each key a number, set before it, too: a search looks at these */
	struct target list[TARGETS_MAX];
};

uint64_t target_spelt(const char *key);

/* The entry of this server, or TARGET_NONE. called: its name in this service (its number in the world, and one), NULL or
 * "": it has none, and is the same in all services. Linear for one that is new; for configuration loads. */
uint32_t targets_find(const struct targets *t, const char *key, const char *called, uint32_t of_service);
/* Supervisor only: found or added. experience: of each target. TARGET_NONE: the table is full. */
uint32_t targets_add(struct targets *t, struct experience *experience, const struct server *s, uint32_t of_service);
/* Supervisor only, for a new configuration: first that none is wanted, then each that is (targets_add()). */
void targets_leave_all(struct targets *t, int64_t now_ms);
/* Supervisor only: those that were left long enough ago and that no connection names any more, the first one first (room for TARGETS_MAX).
 * Returns how many. */
uint32_t targets_rested(const struct targets *t, int64_t now_ms, bool (*named)(void *arg, uint32_t target), void *arg,
                        uint32_t *ret);
/* Supervisor only: nobody is there any more. */
void targets_clear(struct targets *t, struct experience *experience, uint32_t i);
/* Any that is spelt so, the last one first; or TARGET_NONE. */
uint32_t targets_like(const struct targets *t, const char *key);
/* What it is called: its name, else as it is spelt. */
const char *target_label(const struct target *t);
/* What the line is called of which it is a member (`each`, srv:); NULL: of none. */
const char *target_line(const struct targets *t, const struct target *member);
/* Supervisor only. n 0: says that it does not resolve; a good answer of earlier stays. more: there may be others yet. */
void target_forget(struct target *t); /* not even an answer of earlier stays */
void target_set_addrs(struct target *t, const struct addr *addrs, size_t n, bool more);

/* A consistent copy of the addresses (room for TARGET_ADDRS); returns how many. */
size_t target_addrs(const struct target *t, struct addr *ret);

/* What its last client found, until the next one finds something else. */
enum finding {
	UNTRIED, /* there has been none */
	WORKS,
	FAILS,
};

/* Instead of an errno. */
#define TARGET_NO_ADDRESS 0x3fff /* the name does not resolve */

struct target_health {
	enum finding finding;
	int error;        /* FAILS: why the last time */
	int64_t since_ms; /* monotonic: when it began */
};

struct target_health target_health(const struct experience *e);
const char *target_error_text(int error); /* static, whatever it is */

/* error: errno. It is also tried last for a while. */
void target_failed(struct experience *e, int64_t now_ms, int error);
/* The same, but the choice is as before: there was nothing to try, or it is the only one anyway. */
void target_not_there(struct experience *e, int64_t now_ms, int error);
void target_worked(struct experience *e, int64_t now_ms);
bool target_is_avoided(const struct experience *e, int64_t now_ms);

#endif
