/*
 * entries.h - the spawner's entries in the memory of program/programs.h: one is taken before a program is started, and given back when
 * nothing of it is left.
 */
#ifndef SPAWNER_ENTRIES_H
#define SPAWNER_ENTRIES_H

#include <stdbool.h>
#include <sys/types.h>
#include "program/programs.h"

/* NULL: none is free. Its pid is 0, for the kernel to store. */
struct program_entry *entry_take(struct programs_shared *p, enum program_kind kind, uint64_t key, int64_t until_ms);
/* NULL, and one that another spawner has taken over: nothing happens. */
void entry_give_back(struct program_entry *e);
void entry_failed(struct programs_shared *p, enum program_kind kind);

/* A pid that stands in memory which others write might have us end any process: the supervisor, one of a worker's. */
bool entry_is_one_of_us(pid_t pid);

#endif
