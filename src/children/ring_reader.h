/* ring_reader.h - reads the ring of a trio. */
#ifndef CHILDREN_RING_READER_H
#define CHILDREN_RING_READER_H

#include <stddef.h>
#include <stdint.h>

struct worker;

/* Its eventfd says that something is in the ring. arg: struct worker. */
void ring_reader_woken(void *arg, uint32_t events);
/* A message as from the ring: a record or a line (enum message_type). */
void ring_reader_take(struct worker *w, uint32_t type, const void *data, size_t len);
/* What stands in the ring goes to the log. */
void worker_drain(struct worker *w);

#endif
