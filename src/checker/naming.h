/*
 * naming.h - names of servers, looked up, and what the supervisor is told of them: the addresses of each (WIRE_NAMED), and the members of
 * lines that stand for many (WIRE_CROWD).
 */
#ifndef CHECKER_NAMING_H
#define CHECKER_NAMING_H

#include "ipc/outbox.h"
#include "servers/dns.h"
#include "servers/crowds.h"

struct naming {
	struct loop *loop;
	const struct world *world;
	struct outbox *outbox;
	const struct watch *control; /* fd -1: nobody hears */
	struct names *names;         /* NULL: none was ever to be looked up; likewise: */
	struct crowds *crowds;
	bool lost; /* the outbox was full: not all is told */
};

/* All is zero but what it is handed: loop, world, outbox, control. From now on the names of this configuration are looked after. */
void naming_take(struct naming *n, const struct config *c);
/* There is room in the outbox again. */
void naming_go_on(struct naming *n);
/* How its questions have ended. */
struct resolve_counts naming_counts(const struct naming *n);
/* Some name of it must be looked up. */
bool naming_wanted(const struct config *c);

#endif
