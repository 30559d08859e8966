/*
 * ring.h - messages from one writer process to one reader process through shared memory.
 *
 * The index is stored after the bytes, so a writer that dies in between leaves nothing. A reader
 * that dies reads the last message again. A full ring overwrites nothing: the message is
 * refused and counted. Neither side ever waits.
 */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring; /* lies in shared memory */

/* Bytes of shared memory for a ring whose payload area is `capacity` bytes (a power of two >= 64). */
size_t ring_size(size_t capacity);
/* mem: zeroed shared memory of ring_size(capacity) bytes, 64-byte aligned. */
struct ring *ring_init(void *mem, size_t capacity);

/* Writer: false (and counted) if it does not fit. `type` is the caller's, below UINT32_MAX. At most
 * capacity/4 bytes. capacity: as it was made with, which the writer knows; the reader may write to the ring, too. */
bool ring_put(struct ring *r, size_t capacity, uint32_t type, const void *data, size_t len);

/* Writer: how much was ever put, in bytes: it has grown after a successful ring_put(). */
uint64_t ring_head(const struct ring *r);

/* Reader. It gives the capacity from its own memory, because the writer can spoil what is shared:
 * nothing outside the ring is ever read.
 * ring_peek: the oldest message, or false. *data stays valid until ring_drop() and is aligned to 8
 * bytes; a hostile writer can change it meanwhile, so copy what is checked. A length that a
 * broken writer spoiled is never followed: the ring is emptied (counted as one lost) and false
 * returned. ring_drop: done with the message that ring_peek() gives; nothing without one. */
bool ring_peek(struct ring *r, size_t capacity, uint32_t *type, const void **data, size_t *len);
void ring_drop(struct ring *r, size_t capacity);
/* Messages refused since the last call. */
uint64_t ring_take_lost(struct ring *r);
bool ring_empty(const struct ring *r);

#endif
