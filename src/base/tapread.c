#include "base/tapread.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include "base/clock.h"

#define STOP_LOOK_MS 200 /* a signal may come just before we sleep */

static int write_all(int fd, struct buf *out)
{
	size_t at = 0;

	while (at < out->len) {
		ssize_t n = write(fd, out->s + at, out->len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	buf_clear(out);
	return 0;
}

/* A busy writer never lets the rings be empty: it is not waited for. */
static int drain(struct ring **rings, size_t n, struct tap_view *v, int64_t until_us, uint64_t *lost, int to,
                 const volatile sig_atomic_t *stop)
{
	struct buf out = BUF_INIT;
	size_t shown;
	int rc;

	do {
		tap_drain(rings, n, v, until_us, lost, &out);
		shown = out.len;
		rc = write_all(to, &out);
	} while (rc == 0 && shown > 0 && !(stop && *stop));
	buf_release(&out);
	return rc;
}

int tap_read(struct ring **rings, size_t n, int wake_fd, struct tap_view *v, int to, const volatile sig_atomic_t *stop,
             uint64_t *lost)
{
	struct pollfd p = {.fd = wake_fd, .events = POLLIN};
	struct buf head = BUF_INIT;
	bool over = false;
	char wakes[4096];
	int rc;

	tap_view_begin(v, &head);
	rc = write_all(to, &head);
	buf_release(&head);
	while (rc == 0 && !*stop && !over) {
		if (poll(&p, 1, STOP_LOOK_MS) == 1)
			over = read(wake_fd, wakes, sizeof(wakes)) == 0; /* the last writer has left */
		rc = drain(rings, n, v, INT64_MAX, lost, to, stop);
	}
	/* what came until now */
	return rc == 0 ? drain(rings, n, v, clock_wall_us(), lost, to, NULL) : rc;
}
