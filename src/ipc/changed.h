/*
 * changed.h - what tcpproxyctl has changed of a server, against the file.
 *
 * A few words beside the server's entry in what the supervisor says (ipc/targets.h), which supervisors alone can write: so a reload,
 * an upgrade, a restart and the death of any process leave them as they are. The file wins where it speaks: with them stands a number
 * for what it says of the server, and if that is another one, the words are forgotten.
 */
#ifndef IPC_CHANGED_H
#define IPC_CHANGED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CHANGED_WEIGHT_MAX 1000       /* also in per cent of the file's */
#define CHANGED_MAX_MAX    1000000000 /* connections */

/* Nothing was said: as the file says, unless something is said of the line of which it is a member (ipc/holds.c). BY_FILE, AUTO: as
 * the file, or checks, say, whatever is said of that. */
enum weight_how { WEIGHT_NOT_SAID, WEIGHT_NUMBER, WEIGHT_PERCENT, WEIGHT_BY_FILE };

enum force { FORCE_NOT_SAID, FORCE_UP, FORCE_DOWN, FORCE_AUTO, FORCES };

#define CHANGED_NOT_SAID 0                     /* of max; else so many connections, and one; or: */
#define CHANGED_BY_FILE  (CHANGED_MAX_MAX + 2) /* as the file says, likewise */

struct changed {
	atomic_uint weight;   /* changed_set_weight(); 0: nothing was said */
	atomic_uint max;      /* CHANGED_NOT_SAID; CHANGED_BY_FILE; so many connections, and one */
	atomic_uint force;    /* enum force */
	atomic_llong came_ms; /* monotonic: since then the file has it, or clients may come again; 0: since the start */
	atomic_llong drained_ms; /* monotonic: if it is draining still, those that are left are ended then; 0: never */
	atomic_ullong line;      /* what the file says of it; 0: it does not have it */
	atomic_uint disabled;    /* the file calls it disabled, wherever it has it */
};

#define CHANGED_HOW_SHIFT 16 /* of weight: how, and the number */

static inline enum weight_how changed_how(const struct changed *c)
{
	return (enum weight_how)(atomic_load_explicit(&c->weight, memory_order_relaxed) >> CHANGED_HOW_SHIFT);
}

/* Another one than the file's. */
static inline bool changed_has_weight(const struct changed *c)
{
	enum weight_how how = changed_how(c);

	return how == WEIGHT_NUMBER || how == WEIGHT_PERCENT;
}

static inline bool changed_has_max(const struct changed *c)
{
	uint32_t word = atomic_load_explicit(&c->max, memory_order_relaxed);

	return word != CHANGED_NOT_SAID && word != CHANGED_BY_FILE;
}

static inline bool changed_keeps_max(const struct changed *c)
{
	return atomic_load_explicit(&c->max, memory_order_relaxed) == CHANGED_BY_FILE;
}

/* What holds. file: what the file says. 0: no new connection. */
uint32_t changed_weight(const struct changed *c, uint32_t file);
/* 0 only if that was said. */
uint32_t changed_percent_of(uint32_t percent, uint32_t file);
/* Connections; 0: no limit. */
uint32_t changed_max(const struct changed *c, uint32_t file);

static inline enum force changed_force(const struct changed *c)
{
	return (enum force)atomic_load_explicit(&c->force, memory_order_relaxed);
}

/* *n: of NUMBER and PERCENT. */
enum weight_how changed_weight_how(const struct changed *c, uint32_t *n);
/* Supervisor only. */
void changed_set_weight(struct changed *c, enum weight_how how, uint32_t n);
void changed_forget(struct changed *c);
/* It was not there, or out, and clients may come again; slow_start.h. */
void changed_came(struct changed *c, int64_t now_ms);
/* Of another supervisor, through hands that may lie: only what can be stays. */
void changed_check(struct changed *c);

#endif
