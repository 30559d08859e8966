/* dump.c - --dump: a process of its own shows all bytes of all connections; the supervisor reads
 * none of them. */
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
#include "daemon/supervisor.h"
#include "os/proc.h"
#include "os/shm.h"
#include "os/user.h"

#define EXIT_NO_START 2
#define WAIT_MS       1000

int dump_open(struct supervisor *s)
{
	s->dump_fd = -1;
	/* a program before us has one that goes on */
	if (!s->setup->dump || s->upgraded || s->orphans.n > 0)
		return 0;
	s->dump_fd = s->setup->dump_path
	                 ? open(s->setup->dump_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
	                 : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (s->dump_fd >= 0)
		return 0;
	log_error("--dump: cannot write to %s: %s",
	          s->setup->dump_path ? s->setup->dump_path : "stderr", strerror(errno));
	return EXIT_NO_START;
}

/* In the child. It ends with the last worker, whatever signals say: Ctrl-C is for the supervisor.
 */
static _Noreturn void show(struct supervisor *s, const int *fds, size_t n)
{
	static const volatile sig_atomic_t never;
	struct tap_view *v =
	    s->setup->dump_path ? tap_view_pcapng("tcpproxy " TCPPROXY_VERSION) : tap_view_text();
	struct ring **rings = mem_alloc(n * sizeof(*rings));
	int keep[SOCK_MAX_FDS + 2];
	uint64_t lost = 0;
	int to = s->dump_fd, rc = 0;

	memcpy(keep, fds, n * sizeof(*keep));
	keep[n] = to;
	proc_title("tcpproxy: dump");
	log_set_sink(NULL, NULL);
	proc_close_except(3, keep, n + 1);
	user_drop_capabilities();
	for (size_t i = 1; i < n && rc == 0; i++) {
		rings[i - 1] = shm_map(fds[i], ring_size(TAP_RING));
		if (!rings[i - 1])
			rc = -ENOMEM;
	}
	if (rc == 0)
		rc = tap_read(rings, n - 1, fds[0], v, to, &never, &lost);
	if (lost)
		log_warning(
		    "--dump: %llu records are lost: they came faster than they could be written",
		    (unsigned long long)lost);
	if (rc < 0)
		log_error("--dump: %s", strerror(-rc));
	_exit(rc < 0);
}

void dump_start(struct supervisor *s)
{
	struct dump *d = &s->dump;

	if (s->dump_fd < 0)
		return;
	d->number = tap_number();
	d->n = tap_new(s->n_crews, d->fds);
	d->pid = d->n < 0 ? -1 : fork();
	if (d->pid == 0)
		show(s, d->fds, (size_t)d->n);
	if (d->pid < 0) {
		log_error("--dump: %s", strerror(d->n < 0 ? -d->n : errno));
		d->pid = 0;
		d->n = 0;
	} else {
		close(d->fds[0]);
	}
	close(s->dump_fd);
	s->dump_fd = -1;
}

void dump_tell(struct crew *c)
{
	const struct tap_filter all = {.target = TARGET_NONE};
	struct dump *d = &c->supervisor->dump;

	if ((int)c->number + 1 < d->n)
		tap_tell(c, d->number, &all, d->fds[d->n], d->fds[c->number + 1]);
}

static void let_go(struct dump *d)
{
	for (int i = 1; i <= d->n; i++)
		close(d->fds[i]);
	d->n = 0;
}

void dump_lost(struct supervisor *s)
{
	s->dump.pid = 0;
	let_go(&s->dump);
	if (!s->stopping)
		log_error(
		    "what --dump shows ends here: its process has died; the connections go on");
}

void dump_wait(struct supervisor *s)
{
	int64_t until = clock_mono_ms() + WAIT_MS;

	let_go(&s->dump);
	while (s->dump.pid > 0 && waitpid(s->dump.pid, NULL, WNOHANG) == 0 &&
	       clock_mono_ms() < until)
		poll(NULL, 0, 2);
}
