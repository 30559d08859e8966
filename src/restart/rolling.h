/* rolling.h - the trios become the program that the supervisor is, one after the other. */
#ifndef RESTART_ROLLING_H
#define RESTART_ROLLING_H

#include "children/workers.h"

struct rolling {
	struct workers *workers;
	void (*over)(void *arg, const char *text); /* NULL: not wanted */
	void *arg;
	const char *why; /* for the log: "upgrade" */
	uint32_t at;     /* the one under way */
	uint32_t n_done;
	unsigned reexecs, failed; /* of that one, before */
	int64_t deadline_ms;
	struct timer timer;
};

/* Begins; over: what came of it. Meanwhile workers->rolling. */
void rolling_begin(struct rolling *r, const char *why, void (*over)(void *arg, const char *text), void *arg);
/* All of them are of this program already: says so. */
void rolling_need_not(struct rolling *r, const char *why, void (*over)(void *arg, const char *text), void *arg);

#endif
