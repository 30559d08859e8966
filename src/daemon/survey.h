/*
 * survey.h - takes a snapshot of everything out of the shared memory: from outside, reading only,
 * without stopping anybody. A row that changes hands while it is being read is left out.
 */
#ifndef DAEMON_SURVEY_H
#define DAEMON_SURVEY_H

#include "config/config.h"
#include "proxy/world.h"
#include "stats/snapshot.h"

struct survey;

/* What is looked at; all of it stays the caller's, and stays where it is. */
struct survey_source {
	const struct world *world;
	struct trio *const *trios;
	uint32_t n_trios;
};

struct survey *survey_new(const struct survey_source *source);
void survey_free(struct survey *v); /* takes NULL */

/* config: the one in force, of this generation. connections: with them, and with the rates since
 * the last time (or since their beginning); else their list is empty. The caller fills in what is
 * said of the program itself: pid, config_path, log_level, stopping. */
struct snapshot *survey_take(struct survey *v, const struct config *config, uint64_t generation,
                             bool connections);

/* "enabled", "draining", "drained" or "disabled". */
const char *standing_text(unsigned standing, bool disabled_by_file, uint32_t active);

#endif
