#include "daemon/renew.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/text.h"
#include "daemon/worker.h"
#include "os/proc.h"
#include "os/shm.h"
#include "takeover/keeper.h"

static struct worker_setup worker_setup;
static struct trio *trios[TRIO_PEERS];

static struct trio *map_trio(int fd)
{
	struct trio *t = shm_map(fd, sizeof(*t));

	if (!t || t->magic != TRIO_MAGIC || t->version != TRIO_VERSION || t->size != sizeof(*t) ||
	    t->row_size != sizeof(struct row) || t->cold_size != sizeof(struct row_cold))
		return NULL;
	return t;
}

static struct world *map_world(int fd)
{
	struct world *w = shm_map(fd, sizeof(*w));

	if (!w || w->magic != WORLD_MAGIC || w->version != WORLD_VERSION || w->size != sizeof(*w))
		return NULL;
	return w;
}

/* The table is as large as it was, so that it never grows under the connections; nothing in it goes to a program. */
static void take_table(const struct trio *t)
{
	proc_size_table(t->table_size);
	if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
		return;
	for (int fd = 3; fd < (int)t->table_size; fd++) /* Linux before 5.11 */
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

_Noreturn void renew_continue(const char *trio_fd)
{
	struct trio_setup setup = {.worker = worker_run, .forget = worker_forget, .arg = &worker_setup};
	uint64_t fd;
	struct trio *t = text_parse_uint(trio_fd, INT32_MAX, &fd) ? map_trio((int)fd) : NULL;

	unsetenv(RENEW_VARIABLE);
	if (!t || t->n_peers > TRIO_PEERS)
		_exit(1);
	take_table(t);
	worker_setup = (struct worker_setup){.trio = t,
					     .world = map_world(t->world_fd),
					     .trios = trios,
					     .n_trios = t->n_peers,
					     .rearm_fds = t->peer_rearm_fds};
	for (uint32_t i = 0; i < t->n_peers; i++) {
		trios[i] = i == t->number ? t : map_trio(t->peer_fds[i]);
		if (!trios[i])
			_exit(1);
	}
	if (!worker_setup.world)
		_exit(1);
	setup.trio = t;
	setup.supervisor_pidfd = t->supervisor_fd;
	trio_continue(&setup);
}
