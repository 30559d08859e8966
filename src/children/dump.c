#include "children/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/ring.h"
#include "base/tapread.h"
#include "children/tap.h"
#include "os/caps.h"
#include "os/oom.h"
#include "os/proc.h"
#include "os/safepath.h"
#include "os/shm.h"

#define DUMP_WAIT_MS 1000

bool dump_open(struct dump *d)
{
	d->fd = d->path ? safepath_open_new(d->path, 0600) : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (d->fd >= 0)
		return true;
	log_error("--dump: cannot write to %s: %s", d->path ? d->path : "stderr",
	          d->fd < -1 ? safepath_error(-d->fd) : strerror(errno));
	return false;
}

/* In the child. It ends with the last worker, whatever signals say: Ctrl-C is for the supervisor.
 */
static _Noreturn void show(const struct dump *d)
{
	static const volatile sig_atomic_t never;
	struct tap_view *v = d->path ? tap_view_pcapng("tcpproxy " TCPPROXY_VERSION) : tap_view_text();
	size_t n = (size_t)d->n;
	struct ring **rings = mem_alloc(n * sizeof(*rings));
	int keep[SOCK_MAX_FDS + 2];
	uint64_t lost = 0;
	int to = d->fd, rc = 0;

	memcpy(keep, d->fds, n * sizeof(*keep));
	keep[n] = to;
	proc_title("tcpproxy: dump");
	proc_leave_terminal();
	log_set_sink(NULL, NULL);
	proc_close_except(3, keep, n + 1);
	caps_drop();
	for (size_t i = 1; i < n && rc == 0; i++) {
		rings[i - 1] = shm_map(d->fds[i], ring_size(TAP_RING));
		if (!rings[i - 1])
			rc = -ENOMEM;
	}
	if (rc == 0)
		rc = tap_read(rings, n - 1, d->fds[0], v, to, &never, &lost);
	if (lost)
		log_warning("--dump: %llu records are lost: they came faster than they could be written",
		            (unsigned long long)lost);
	if (rc < 0)
		log_error("--dump: %s", strerror(-rc));
	_exit(rc < 0);
}

void dump_tell(const struct dump *d, struct worker *w)
{
	const struct tap_filter all = {.target = TARGET_NONE};

	if ((int)w->number + 1 < d->n)
		tap_tell(w, d->number, &all, d->fds[d->n], d->fds[w->number + 1]);
}

static void let_go(struct dump *d)
{
	for (int i = 1; i <= d->n; i++)
		close(d->fds[i]);
	d->n = 0;
}

static int dump_start_now(void *arg)
{
	struct dump *d = arg;
	struct workers *ws = d->workers;
	int n = tap_new(ws->n, d->fds);

	if (n < 0)
		return n;
	d->n = n;
	d->pid = oom_fork();
	if (d->pid == 0)
		show(d);
	n = d->pid < 0 ? -errno : 0;
	close(d->fds[0]);
	if (n < 0) {
		d->pid = 0;
		let_go(d);
		return n;
	}
	close(d->fd);
	d->fd = -1;
	for (uint32_t i = 0; ws->list && i < ws->n; i++)
		dump_tell(d, &ws->list[i]); /* it is late: they serve */
	return 0;
}

void dump_start(struct dump *d)
{
	if (d->fd < 0)
		return;
	d->number = tap_number();
	again_init(&d->again, d->workers->loop, dump_start_now, d, "the process for --dump");
	again_start(&d->again);
}

void dump_lost(struct dump *d)
{
	d->pid = 0;
	let_go(d);
	if (*d->workers->phase != PHASE_STOPPING)
		log_error("what --dump shows ends here: its process has died; the connections go on");
}

void dump_wait(struct dump *d)
{
	int64_t until = clock_mono_ms() + DUMP_WAIT_MS;

	again_cancel(&d->again);
	let_go(d);
	while (d->pid > 0 && waitpid(d->pid, NULL, WNOHANG) == 0 && clock_mono_ms() < until)
		poll(NULL, 0, 2);
}
