/*
 * strangers.h - which processes are not ours: a pid that only a trio names must not lead to one of our other processes.
 */
#ifndef CHILDREN_STRANGERS_H
#define CHILDREN_STRANGERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define STRANGERS_KNOWN 8

struct strangers {
	const pid_t *known[STRANGERS_KNOWN];
	size_t n;
};

/* A process of ours that is in no trio: *pid is looked at each time, 0 or -1: there is none now. */
void strangers_know(struct strangers *s, const pid_t *pid);
/* Is this none of those, nor ourselves, nor our parent? */
bool strangers_has(const struct strangers *s, pid_t pid);

#endif
