/*
 * programs.h - checks that programs make: the spawner is asked to run them (program/check_question.h).
 */
#ifndef CHECKER_PROGRAMS_H
#define CHECKER_PROGRAMS_H

#include "checker/asking.h"
#include "event/loop.h"

/* What a program has said, or that it is not known. number: of programs_run(). status: as of waitpid(), -1: its time was over; line:
 * the first of its stdout. ran false: it could not be run, or nobody knows: it is to be asked again. */
typedef void programs_fn(void *arg, uint64_t number, bool ran, int status, const char *line);

struct programs; /* opaque */

struct programs *programs_new(struct loop *loop, programs_fn *fn, void *arg);
/* The spawner is at the other end of this, in the place of one before it; owned from now on. */
void programs_channel(struct programs *p, int fd);
/* 0: not now. Else the number by which it is answered, if at all. state: of the server so far. */
uint64_t programs_run(struct programs *p, const struct asked *k, uint64_t generation, const struct addr *at,
                      uint32_t timeout_ms);

#endif
