/*
 * adopt.h - a supervisor that is started while the trios of a dead one still serve takes them over: the same processes,
 * the same memory, the same listening sockets; no connection notices.
 */
#ifndef CHILDREN_ADOPT_H
#define CHILDREN_ADOPT_H

#include "children/listeners.h"
#include "ipc/rendezvous.h"
#include "ipc/world.h"

/* A trio that was found. */
struct orphan {
	uint32_t number;
	int control_fd; /* the connection through its door */
	int fds[GREETING_FDS];
	int stick_fd;      /* memory of those who stick; -1: none */
	struct trio *trio; /* NULL: of another layout */
	uint64_t next_id;
};

struct orphans {
	struct orphan *list;
	uint32_t n;
	uint32_t n_workers; /* there were */
	struct world *world;
	int64_t until_ms;       /* so long they may take to say all */
	bool full;              /* at one of the doors, perhaps of ours, there was no room all the time */
	uint32_t silent;        /* ADOPT_SILENT: the number of one */
	uint64_t key;           /* by which we may be known (rendezvous.h) */
	struct sockets sockets; /* their listeners, with the ids they know */
};

enum adopt_result {
	ADOPT_NONE, /* no trio serves there, or one that has a supervisor */
	ADOPT_FOUND,
	ADOPT_INTERRUPTED,  /* a worker died while it told us */
	ADOPT_INCOMPATIBLE, /* their memory has another layout: they can only be retired (retire.h) */
	ADOPT_SILENT,       /* there is one that does not say a word: it is stopped */
	ADOPT_UNKNOWN,      /* they do not even greet as we do */
};

/* Looks for trios that were started for `what` and have lost their supervisor, five seconds at most. Nothing is changed there
 * yet. */
enum adopt_result adopt_find(const char *what, uint64_t key, struct orphans *ret);
/* The same for one that we had found, when its worker died before it could take our word. Returns the connection, or
 * -errno: not now. */
int adopt_again(const char *what, uint64_t key, uint32_t number);
/* From now on we are its supervisor. 0 or -errno. */
int adopt_take_one(int control_fd);
void adopt_release(struct orphans *o); /* forgets; closes nothing that was taken */
/* They are not to be taken over but retired, as if their memory had another layout. */
void adopt_forget_memory(struct orphans *o);
void adopt_drop(struct orphans *o); /* takes nothing: closes all that was found */

#endif
