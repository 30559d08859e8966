/* tap.c - workers are handed rings to write to what they see of some connections. */
#include "children/tap.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/ring.h"
#include "base/tap.h"
#include "children/workers.h"
#include "os/shm.h"

#define PLACES \
	(SOCK_MAX_FDS - 1) /* workers that can be looked into: one ring each, and a socket  \
	                           */

int tap_new(uint32_t n_workers, int *ret)
{
	uint32_t n = n_workers < PLACES ? n_workers : PLACES;
	int pair[2];
	void *map;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ret[0] = pair[0];
	ret[n + 1] = pair[1];
	for (uint32_t i = 0; i < n; i++) {
		ret[i + 1] = shm_new("tcpproxy-tap", ring_size(TAP_RING), &map);
		if (ret[i + 1] < 0) {
			int error = ret[i + 1];

			while (i-- > 0)
				close(ret[i + 1]);
			close(pair[0]);
			close(pair[1]);
			return error;
		}
		ring_init(map, TAP_RING);
		munmap(map, ring_size(TAP_RING));
	}
	return (int)n + 1;
}

/* Numbers never come twice, not from another supervisor either. */
uint64_t tap_number(void)
{
	static uint64_t last;
	uint64_t now = (uint64_t)clock_wall_us();

	last = now > last ? now : last + 1;
	return last;
}

void tap_tell(struct worker *w, uint64_t number, const struct tap_filter *filter, int wake_fd, int ring_fd)
{
	struct wire m = {.type = WIRE_TAP, .number = number, .filter = *filter};
	int fds[2] = {wake_fd, ring_fd};

	worker_send(w, &m, fds, 2);
}
