/* spawnd.h - the spawner as a process of its own. */
#ifndef SPAWNER_SPAWND_H
#define SPAWNER_SPAWND_H

#include <sys/resource.h>
#include "takeover/table.h"

struct spawnd_setup {
	struct trio *const *trios;
	uint32_t n_trios;
	int control_fd; /* to the supervisor */
	struct programs_shared *programs;
	struct rlimit nofile; /* for programs */
	unsigned umask;       /* for programs */
};

/* The life of the spawner. Ends when the supervisor says so, or when the supervisor and all trios are
 * gone. Returns the exit code. */
int spawnd_run(const struct spawnd_setup *setup);

#endif
