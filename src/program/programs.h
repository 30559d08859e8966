/*
 * programs.h - programs that run without a row of their own (checks, notices), in memory that all processes share, so that a spawner
 * that follows one that was killed knows what that has left behind. An entry is written by the spawner that has it; the kernel
 * stores the pid before the program runs its first instruction (os/spawn.h). And how often programs have failed, ever.
 */
#ifndef PROGRAM_PROGRAMS_H
#define PROGRAM_PROGRAMS_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/program_kind.h"

#define PROGRAMS_MAX 128 /* at a time, of both kinds, with those that are being ended */

struct program_entry {
	atomic_int owner;      /* pid of the spawner that has it; 0: it is free */
	int32_t pid;           /* stored by the kernel; 0: it was not started */
	atomic_uint kind;      /* enum program_kind */
	atomic_ullong key;     /* only one of the same key is to run */
	atomic_llong until_ms; /* monotonic: it is ended then */
};

struct programs_shared {
	struct program_entry list[PROGRAMS_MAX];
	atomic_ullong failed[PROGRAM_KINDS]; /* written by spawners */
};

#endif
