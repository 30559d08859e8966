/* worker_outbox.c - what a worker is sent. One that is stopped is not told now: it finds it when it goes on. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "children/workers.h"
#include "os/shm.h"

void worker_send(struct worker *w, const struct wire *m, const int *fds, size_t n_fds)
{
	int rc = outbox_send(&w->child.outbox, m, fds, n_fds);

	if (rc == -ENOBUFS)
		log_error("worker %u does not read what it is told (is it stopped?): something is lost", w->number);
	else if (rc < 0 && rc != -EPIPE && rc != -ECONNRESET)
		log_error("telling worker %u something: %s", w->number, strerror(-rc));
}

void worker_send_link(struct worker *w, const struct wire *m, int link, int memfd)
{
	int fds[2] = {link, shm_for_reading(memfd)};

	worker_send(w, m, fds, fds[1] < 0 ? 1 : 2);
	if (fds[1] >= 0)
		close(fds[1]);
}

void workers_send(struct workers *ws, const struct wire *m, const int *fds, size_t n_fds)
{
	for (uint32_t i = 0; i < ws->n; i++)
		worker_send(&ws->list[i], m, fds, n_fds);
}
