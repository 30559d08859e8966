/*
 * inspect.h - looking in: snapshots of what is served, for commands; those that want to know what TCP says wait for the workers.
 */
#ifndef SUPERVISOR_INSPECT_H
#define SUPERVISOR_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

struct supervisor;
struct snapshot;
struct inspect; /* opaque */

/* The trios are there. */
void inspect_start(struct supervisor *s);
/* Requests that still wait get what is known. */
void inspect_stop(struct supervisor *s);

/* The caller's. connections: of each one, too. */
struct snapshot *inspect_take(struct supervisor *s, bool connections);
/* done, whose the snapshot is then, is called now; or (tcp) once all workers have written what TCP says, and so have obeyed what they
 * were told before, or do not answer. */
void inspect_look(struct supervisor *s, bool connections, bool tcp, void (*done)(void *arg, struct snapshot *shot),
                  void *arg);
/* What TCP says of the connections will be wanted. */
void inspect_want_tcp_info(struct supervisor *s);
/* A worker has written that. */
void inspect_written(struct supervisor *s, uint32_t worker, uint64_t request);

#endif
