/*
 * fake_workers.h - trios that the supervisor has found, so that it hears and tells them as any others: the other ends of their
 * sockets are the test's, and no process is behind them.
 */
#ifndef TESTS_CHILDREN_FAKE_WORKERS_H
#define TESTS_CHILDREN_FAKE_WORKERS_H

#include "fixture.h"

#include "children/workers.h"

#define FAKE_WORKERS_MAX 4

extern enum phase phase;
extern struct rules rules;
extern struct workers workers;
extern int theirs[FAKE_WORKERS_MAX]; /* the workers' ends; -1: none */

/* The world, the rules, a logger; no worker yet. Around it: fixture_begin(), fixture_end(). */
void fake_workers_begin(void);
/* Those of 0 to n - 1 whose bit is in `which` serve, and are found. Returns what workers_start() does. */
int fake_workers_find(uint32_t n, unsigned which);
/* The same, and they have said that they are the supervisor's, and have read what they were told. */
void fake_workers_serve(uint32_t n);
void fake_workers_end(void);

/* Says this as worker i, with a few descriptors; the supervisor hears it. */
void say_with(uint32_t i, const void *data, size_t len, const int *fds, size_t n_fds);
void say(uint32_t i, const struct wire *w);
/* The worker is gone, with all that waits for it. */
void hang_up(uint32_t i);
/* What somebody at this end of a socket reads, by its types: "RULES LISTEN SYNC"; what it was sent beside that is closed. A descriptor
 * behind each: "RULES+1". */
const char *read_all(int fd);
/* The same for one message, with its descriptors. False: there is none. */
bool read_one(int fd, struct wire *w, int *fds, size_t *n_fds);

/* What the workers' part has reported since the last call: "idle moved:1,5". */
const char *reported(void);
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How many lines with this in them stand in the log file. */
unsigned written(const char *part);

#endif
