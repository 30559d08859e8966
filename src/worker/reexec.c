#include "worker/reexec.h"

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/text.h"
#include "worker/worker.h"
#include "os/fds.h"
#include "os/proc.h"
#include "os/shm.h"
#include "takeover/keeper.h"

static struct worker_setup worker_setup;
static struct trio *trios[TRIO_PEERS];

/* Nothing in the table goes to a program; it is as large as it was, so that it never grows under the connections. */
static void take_table(const struct trio *t)
{
	fds_cloexec(3); /* first: it takes the longer, the larger the table is */
	proc_size_table(t->table_size);
}

_Noreturn void reexec_continue(const char *trio_fd)
{
	struct trio_setup setup = {.worker = worker_run, .forget = worker_forget, .arg = &worker_setup};
	uint64_t fd;
	struct trio *t = text_parse_uint(trio_fd, INT32_MAX, &fd) ? trio_map((int)fd, true) : NULL;

	mem_serve();
	unsetenv(REEXEC_VARIABLE);
	if (!t || t->n_peers > TRIO_PEERS)
		_exit(1);
	take_table(t);
	worker_setup = (struct worker_setup){.trio = t,
	                                     .world = world_map(&(struct world_fds){t->said_fd, t->world_fd}, true),
	                                     .trios = trios,
	                                     .n_trios = t->n_peers,
	                                     .rearm_fds = t->peer_rearm_fds};
	for (uint32_t i = 0; i < t->n_peers; i++) {
		trios[i] = i == t->number ? t : trio_map(t->peer_fds[i], false);
		if (!trios[i])
			_exit(1);
	}
	if (!worker_setup.world)
		_exit(1);
	setup.trio = t;
	setup.supervisor_pidfd = t->supervisor_fd;
	trio_continue(&setup);
}
