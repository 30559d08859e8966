/*
 * kept.h - a text that one supervisor leaves to the next: which servers there are that the file does not say (supervisor/members.c).
 *
 * It stands in what the supervisor says of the world (ipc/world.h), which supervisors alone can write. It is written whole, beside the
 * one that holds, and then takes its place: a death at any instruction leaves the old one or the new one.
 */
#ifndef IPC_KEPT_H
#define IPC_KEPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEPT_MAX (8u << 20) /* bytes; memory is taken by what is used */

struct kept {
	atomic_uint which; /* of the halves, modulo 2 */
	struct {
		uint32_t len;
		char text[KEPT_MAX];
	} halves[2];
};

/* Supervisor only. False: it is too long, and what was there stays. */
bool kept_write(struct kept *k, const char *text, size_t len);
/* A copy (free()), which ends in a NUL; "": nothing was kept. The memory may be another supervisor's, and say anything. */
char *kept_read(const struct kept *k);

#endif
