#include "base/tapread.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

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

static int drain(struct ring **rings, size_t n, struct tap_view *v, uint64_t *lost, int to)
{
	struct buf out = BUF_INIT;
	size_t shown;
	int rc;

	do {
		tap_drain(rings, n, v, lost, &out);
		shown = out.len;
		rc = write_all(to, &out);
	} while (rc == 0 && shown > 0);
	buf_release(&out);
	return rc;
}

int tap_read(struct ring **rings, size_t n, int wake_fd, struct tap_view *v, int to,
             const volatile sig_atomic_t *stop, uint64_t *lost)
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
		if (poll(&p, 1, -1) == 1)
			over =
			    read(wake_fd, wakes, sizeof(wakes)) == 0; /* the last writer has left */
		rc = drain(rings, n, v, lost, to);
	}
	return rc == 0 ? drain(rings, n, v, lost, to) : rc; /* what came until now */
}
