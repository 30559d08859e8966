/*
 * pipepool.h - empty pipes of one worker, kept for the next direction that needs one.
 *
 * A direction owns a pipe only while bytes are in it. A pipe that is not known to be empty is
 * closed, never kept. The kernel gives a user only so much room in pipes (fs.pipe-user-pages-soft); beyond it
 * new ones are small, and not kept either.
 */
#ifndef PROXY_PIPEPOOL_H
#define PROXY_PIPEPOOL_H

#include <stdbool.h>
#include <stdint.h>
#include "takeover/table.h"

#define PIPEPOOL_MAX   32
#define PIPEPOOL_SIZE  (256 * 1024) /* bytes of each: 64 segments */
#define PIPEPOOL_LEAST SCRATCH_SIZE /* what copying may have to park; less is small */

struct pipepool {
	int32_t ends[PIPEPOOL_MAX][2]; /* read, write */
	unsigned n;
	unsigned most;    /* to be kept; 0: PIPEPOOL_MAX */
	uint64_t refused; /* times that no large one could be had */
	uint32_t not_yet; /* so many times more the kernel is not asked again */
};

/* A pipe for a direction that has none. small_will_do: better one that is soon full than none at all. 0, or
 * -errno: no descriptors left, or no large pipe. */
int pipepool_take(struct pipepool *p, struct flow_row *row, bool small_will_do);
/* Sees to it that copying has its spare pipe; false: none can be had. */
bool pipepool_spare(struct pipepool *p, struct copy_step *step);
/* The same for a caller that has already taken something, at most two pages, and must park it: a small one will do. */
bool pipepool_any_spare(struct pipepool *p, struct copy_step *step);
/* Gives back an empty pipe; both ends become -1. */
void pipepool_give(struct pipepool *p, int32_t *read_end, int32_t *write_end);
/* Closes a pipe whatever is in it; both ends become -1. Takes -1. */
void pipepool_discard(int32_t *read_end, int32_t *write_end);
void pipepool_release(struct pipepool *p);

#endif
