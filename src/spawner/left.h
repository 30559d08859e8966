/*
 * left.h - programs without a row of their own that a spawner before this one has left behind: those of checks are ended, for nobody
 * waits for their answers; those that are told of a change go on until their time is over.
 */
#ifndef SPAWNER_LEFT_H
#define SPAWNER_LEFT_H

#include <stdbool.h>
#include <stdint.h>

struct spawner;

/* Once, at the beginning. */
void left_take(struct spawner *s);
/* One of this key runs still. */
bool left_runs(const struct spawner *s, uint64_t key);
/* All are ended: TERM, and KILL after a while. */
void left_stop(struct spawner *s);
/* Lets go of all, in any state. */
void left_release(struct spawner *s);

#endif
