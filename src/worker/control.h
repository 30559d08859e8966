/*
 * control.h - what the supervisor tells a worker, and what the worker says to it.
 *
 * A message is dropped only after it was obeyed: a worker that dies of it leaves it to its successor. So each may be
 * obeyed twice.
 */
#ifndef WORKER_CONTROL_H
#define WORKER_CONTROL_H

#include "proxy/ruleset.h"

/* Listens to the supervisor, and to processes that may become it. */
void control_start(void);

/* NULL: that was logged. */
struct ruleset *control_load_rules(int fd, uint64_t generation, const struct world *world);
enum unix_reach control_wanted_reach(const struct ruleset *rules);
void control_set_rules(struct ruleset *rules); /* owned from now on; NULL: nothing changes */

/* For the engine: no connection is left; a worker has more than others; a server was ejected; connections have moved. */
void control_idle(void *arg);
void control_imbalance(void *arg, bool busy);
void control_ejected(void *arg);
void control_given(void *arg, uint32_t n, bool whole);

#endif
