/* relay_stage.h - two connections with the relay between them, and the peers at their far ends. */
#ifndef RELAY_STAGE_H
#define RELAY_STAGE_H

#include "fixture.h"
#include "base/clock.h"
#include "proxy/relay.h"

#define LARGE (4 * 1024 * 1024 + 17)
#define SOME  100000

struct sides {
	const char *name;
	enum pair_kind client, server;
	unsigned deaths; /* the worker dies in every so many turns; 0: never */
};

extern const struct sides *sides; /* of the test at hand */
extern struct stage stage;
extern struct relay relay;
extern struct peer client, server;
extern bool again, over; /* the relay asked to be called again; has called done() */
extern enum relay_outcome outcome;
extern uint32_t turns;
extern char pattern[LARGE];

/* Of each test; *state: its sides. */
int relay_setup(void **state);
int relay_teardown(void **state);

void open_sides(int size); /* of the buffers; 0: the kernel's default */
void start(void);
void step_peers(void *arg);

#define GO_ON_UNTIL(condition) UNTIL(&stage, step_peers, NULL, condition)

bool ended(const struct peer *p);
/* Both peers have seen their ends, and the relay is over. */
void finish(enum relay_outcome wanted, enum end end);
/* Some turns in which nothing may happen. */
void nothing_more_happens(void);

#endif
