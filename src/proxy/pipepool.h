/*
 * pipepool.h - empty pipes of one worker, kept for the next direction that needs one.
 *
 * A direction owns a pipe only while bytes are in it. A pipe that is not known to be empty is
 * closed, never kept.
 */
#ifndef PROXY_PIPEPOOL_H
#define PROXY_PIPEPOOL_H

#include <stdint.h>

#define PIPEPOOL_MAX  32
#define PIPEPOOL_SIZE (256 * 1024) /* bytes of each: 64 segments */

struct pipepool {
	int32_t ends[PIPEPOOL_MAX][2]; /* read, write */
	unsigned n;
	uint64_t refused; /* times that none could be had */
};

/* 0, or -errno (no descriptors left). */
int pipepool_take(struct pipepool *p, int32_t *read_end, int32_t *write_end);
/* Gives back an empty pipe; both ends become -1. */
void pipepool_give(struct pipepool *p, int32_t *read_end, int32_t *write_end);
/* Closes a pipe whatever is in it; both ends become -1. Takes -1. */
void pipepool_discard(int32_t *read_end, int32_t *write_end);
void pipepool_release(struct pipepool *p);

#endif
