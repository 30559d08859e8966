/*
 * limits.h - how many connections are there now under a key: of a service, of one client at a
 * service, of one server, of all.
 *
 * Each worker counts its own connections in a hash table in its trio's shared memory, one 64-bit word
 * per key (the upper 44 bits are the key, the lower 20 the count); a limit is compared with the
 * sum over all workers. Only the owner writes its table. The rows hold the keys, so a successor counts
 * again from them.
 */
#ifndef PROXY_LIMITS_H
#define PROXY_LIMITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/record.h"
#include "proxy/ruleset.h"
#include "takeover/table.h"

/* Keys. Never 0. */
uint64_t limit_key(enum limit_kind kind, const void *data, size_t len);

struct limits {
	struct trio *const *trios; /* of all workers; [own] is ours */
	uint32_t n_trios, own;
};

/* What another worker says is one. 0: not counted. */
uint64_t limit_key_from(uint64_t word);

/* Counts one more under the key, unless that makes more than max (0: no limit). */
bool limits_take(struct limits *l, uint64_t key, uint32_t max);
/* A client of this section, under all its limits. The keys are in the row from before it is counted on; what is in the row
 * already is not counted once more. Each returns WHY_NONE, or which limit leaves no room; what was counted stays in the row. */
enum why limits_take_place(struct limits *l, const struct ruleset *rules, const struct section *section,
                           struct row_cold *cold);
enum why limits_take_client(struct limits *l, const struct ruleset *rules, const struct section *section,
                            struct row_cold *cold);
/* Would there be a place? Counts nothing. */
bool limits_have_place(const struct limits *l, const struct ruleset *rules, const struct section *section);
/* Gives back what a row is counted under. */
void limits_give_kind(struct limits *l, struct row_cold *cold, enum limit_kind kind);
void limits_give(struct limits *l, uint64_t key); /* key 0: nothing */
/* How many there are, over all workers. */
uint32_t limits_count(const struct limits *l, uint64_t key);

/* A successor counts again, in memory of its own: what others read goes from the old number to the new one, and is at no instant less than
 * there are, or they would take the places that are taken. */
struct limits_recount {
	struct limits *limits;
	uint64_t *words; /* a table like the shared one */
	uint32_t slots;
};
void limits_recount_begin(struct limits_recount *r, struct limits *l);
void limits_recount_add(struct limits_recount *r, uint64_t key);                  /* one more; key 0: nothing */
void limits_recount_set(struct limits_recount *r, uint64_t key, uint32_t number); /* as limits_set() */
void limits_recount_end(struct limits_recount *r);

/* The same words for another purpose: a number under a key of a kind of its own (LIMIT_KINDS and above), which counts
 * nothing. A row may have one of these: it takes the place of the global key, which all rows have in common. */
#define LIMIT_NUMBERS ((1u << 20) - 1)                              /* it is below that */
void limits_set(struct limits *l, uint64_t key, uint32_t number);   /* in the place of what another one has set */
void limits_unset(struct limits *l, uint64_t key, uint32_t number); /* only if it is this number */
/* What the worker of this trio has set. false: nothing. */
bool limits_number(const struct trio *t, uint64_t key, uint32_t *ret);

#endif
