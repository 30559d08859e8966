/*
 * adopt.h - a supervisor that is started while the trios of a dead one still serve takes them over: the same processes,
 * the same memory, the same listening sockets; no connection notices.
 */
#ifndef DAEMON_ADOPT_H
#define DAEMON_ADOPT_H

#include "daemon/door.h"
#include "daemon/sockets.h"
#include "proxy/world.h"

/* A trio that was found. */
struct orphan {
	uint32_t number;
	int control_fd;            /* the connection through its door */
	int fds[GREETING_FDS];
	struct trio *trio;         /* NULL: of another layout */
	uint64_t next_id;
};

struct orphans {
	struct orphan *list;
	uint32_t n;
	uint32_t n_workers;        /* there were */
	struct world *world;
	struct sockets sockets;    /* their listeners, with the ids they know */
};

enum adopt_result {
	ADOPT_NONE,         /* nobody serves there, or under a supervisor of its own */
	ADOPT_FOUND,
	ADOPT_INTERRUPTED,  /* a worker died while it told us */
	ADOPT_INCOMPATIBLE, /* their memory has another layout: they can only be retired (retire.h) */
	ADOPT_UNKNOWN,      /* they do not even greet as we do */
};

/* Looks for trios that were started for `what` and have lost their supervisor. Nothing is changed there yet. */
enum adopt_result adopt_find(const char *what, struct orphans *ret);
/* The same for one that we had found, when its worker died before it could take our word. Returns the connection, or
 * -errno: not now. */
int adopt_again(const char *what, uint32_t number);
/* From now on we are their supervisor. */
void adopt_take_one(int control_fd);
void adopt_take(const struct orphans *o);
void adopt_release(struct orphans *o); /* forgets; closes nothing that was taken */
/* They are not to be taken over but retired, as if their memory had another layout. */
void adopt_forget_memory(struct orphans *o);
void adopt_drop(struct orphans *o);    /* takes nothing: closes all that was found */

#endif
