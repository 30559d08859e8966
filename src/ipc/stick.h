/*
 * stick.h - which server a client had last, of all workers together: the memory of `stick`.
 *
 * A memfd of its own, made by the first supervisor whose configuration wants it and kept. An entry is two words: a number for the client
 * and the pool, which no client can foresee; and the server with the time. It is taken in this order: value 0, key, value. The value also
 * carries some bits made of its key and of the server's spelling. So whatever two workers do at once, and wherever one of them dies, a
 * value is never taken for another client's, nor a server for the one that had its number before: at worst a client is forgotten.
 *
 * Eight entries make a bucket, in which the longest unused gives way; there are more than were asked for, so that as many clients as were
 * asked for hardly ever meet. A small one is a single bucket that has just as many.
 */
#ifndef IPC_STICK_H
#define IPC_STICK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "ipc/targets.h"

#define STICK_CLIENTS_MAX (1u << 24) /* of all pools together */

struct stick_memory;
struct stick_entry;

/* As a process sees it: what is here was checked, and nobody else can change it. All 0: there is none. */
struct stick {
	struct stick_memory *memory;
	size_t size;                /* of it, in bytes */
	uint32_t n_buckets, n_ways; /* entries of each */
	uint64_t secret[2];
};

/* What is known of a client. */
struct stuck {
	uint32_t target; /* in the shared targets; TARGET_NONE: nothing is known */
	int64_t age_ms;  /* since it came last; below 0: another worker's clock is ahead */
};

/* Bytes of one for so many clients. */
size_t stick_size(uint32_t clients);
/* Makes one. before: what it knows is taken over, as far as there is room; NULL: nothing is. Returns the descriptor, or -errno. */
int stick_new(uint32_t clients, const struct stick *before, struct stick *ret);
/* Of another process, which may lie. False: it is none. */
bool stick_map(int fd, struct stick *ret);
void stick_unmap(struct stick *s);

/* The number of a client in a pool (config_section_number()); never 0. */
uint64_t stick_key(const struct stick *s, const struct addr *client, uint64_t pool);
struct stuck stick_find(const struct stick *s, uint64_t key, const struct targets *t, int64_t now_ms);
/* From now on it sticks to this server. */
void stick_set(const struct stick *s, uint64_t key, const struct targets *t, uint32_t target, int64_t now_ms);
/* It was there until now, if it still sticks to this server. */
void stick_touch(const struct stick *s, uint64_t key, const struct targets *t, uint32_t target, int64_t now_ms);

#endif
