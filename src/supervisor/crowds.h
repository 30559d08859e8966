/*
 * crowds.h - the members of lines that stand for many servers (`server ... each`, `server srv:...`), as the checker has found them:
 * looked at, and handed on as lines of servers (members.h).
 */
#ifndef SUPERVISOR_CROWDS_H
#define SUPERVISOR_CROWDS_H

#include "ipc/crowd.h"

struct supervisor;

/* The checker says so. list: in order, each once. Nothing of it is taken if a part of it cannot be. */
void crowds_told(struct supervisor *s, uint64_t id, const struct member *list, size_t n);

#endif
