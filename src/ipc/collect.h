/*
 * collect.h - takes a snapshot of everything out of the shared memory: from outside, reading only,
 * without stopping any process. A row that changes hands while it is being read is left out.
 */
#ifndef IPC_COLLECT_H
#define IPC_COLLECT_H

#include "config/config.h"
#include "ipc/world.h"
#include "stats/snapshot.h"

struct collector;

/* What is looked at; all of it stays the caller's, and stays where it is. */
struct collect_source {
	const struct world *world;
	struct trio *const *trios;
	uint32_t n_trios;
};

struct collector *collect_new(const struct collect_source *source);
void collect_free(struct collector *v); /* takes NULL */

/* config: the one in force, of this generation. connections: with them, and with the rates since
 * the last time (or since their beginning); else their list is empty. The caller fills in what is
 * said of the program itself: pid, config_path, log_level, stopping. */
struct snapshot *collect_take(struct collector *v, const struct config *config, uint64_t generation, bool connections);

/* "enabled", "draining", "drained" or "disabled". */
const char *admin_state_text(unsigned state, bool disabled_by_file, uint32_t active);

#endif
