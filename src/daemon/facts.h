/*
 * facts.h - a worker writes what TCP says of its connections into the table, for whoever looks in:
 * some rows in a turn, so that the connections themselves are not kept waiting; and of those on which
 * nothing has moved since the last look, what was said then.
 */
#ifndef DAEMON_FACTS_H
#define DAEMON_FACTS_H

#include "event/loop.h"
#include "takeover/table.h"

struct facts {
	struct loop *loop;
	struct trio *trio;
	void (*done)(void *arg, uint64_t request);
	void *arg;
	struct timer timer;
	uint64_t request;
	uint32_t next; /* row */
};

/* All rows from the first; one that is under way begins again, and answers the new request only. */
void facts_write(struct facts *f, struct loop *loop, struct trio *trio, uint64_t request,
                 void (*done)(void *arg, uint64_t request), void *arg);

#endif
