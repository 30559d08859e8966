/*
 * notices.h - the programs that are told of changes of servers, as the supervisor sees them: asked of the spawner, one at a time for a
 * server in a service; what changes meanwhile waits, and of that the newest alone is told. Nobody waits for them. What a spawner that
 * died had not started is asked of the next one.
 */
#ifndef CHILDREN_NOTICES_H
#define CHILDREN_NOTICES_H

#include <stdbool.h>
#include "children/spawner_child.h"
#include "event/loop.h"
#include "ipc/server_state.h"

/* One that is to be told. Texts and lists are not kept. */
struct notice_order {
	const char *service, *server; /* labels: those of whom only one program runs at a time */
	char *const *argv, *const *env;
	atomic_ullong *told;     /* the word of the server (ipc/server_state.h) ... */
	enum server_state state; /* ... in which this is noted, once the program was started */
};

struct notices {
	struct loop *loop;
	struct spawner_child *spawner;
	struct watch channel; /* to the spawner; fd -1: there is none */
	struct pending_notice *first, **last;
	size_t asked; /* of the spawner, and not ended yet */
	uint64_t serial;
};

/* The loop is there. */
void notices_init(struct notices *n, struct loop *loop, struct spawner_child *spawner);
/* The spawner is another one. */
void notices_join(struct notices *n);
void notices_add(struct notices *n, const struct notice_order *o);
/* Those that were not started are forgotten. */
void notices_stop(struct notices *n);

#endif
