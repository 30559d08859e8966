/* guard.c - see guard.h. */
#include "restart/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "os/caps.h"
#include "os/private.h"
#include "os/proc.h"
#include "os/systemd.h"
#include "restart/inherit.h"
#include "restart/last_reader.h"
#include "restart/restart.h"

#define GUARD_LIMIT_MS  20000
#define ANSWER_LIMIT_MS 1000 /* systemd's */
#define GUARD_FDS       128

/* What it is told. */
#define GO      'g'
#define READ_ON 'r'

/* What is permitted goes along; where nothing is, others of our user can look into us until the new program's main(). */
void guard_stay_private(void)
{
	if (private_is())
		setenv(PRIVATE_VARIABLE, "1", 1);
	caps_keep_over_exec();
}

/* systemd takes no other main process while it stops the service. Then it still takes from us what is to be stored. */
static bool still_main(void)
{
	struct pollfd barrier = {.fd = -1}, probe;
	int ends[2];
	bool kept = false;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	if (systemd_store("probe", ends[1]) == 0)
		barrier.fd = systemd_barrier();
	close(ends[1]);
	if (barrier.fd >= 0 && poll(&barrier, 1, ANSWER_LIMIT_MS) == 1) {
		probe = (struct pollfd){.fd = ends[0]};
		kept = poll(&probe, 1, 0) == 0;
		systemd_unstore("probe");
	}
	close(ends[0]);
	if (barrier.fd >= 0)
		close(barrier.fd);
	return kept;
}

/* It is our parent while it lives: its number is no other process's then. */
static bool is_alive(pid_t supervisor)
{
	return getppid() == supervisor;
}

/* What was meant for the main process, while that was us. A TERM may be half a restart (restart.c), and only we can
 * put the supervisor's lifeline into the store; a byte in it says that this was done. */
static void pass_on_signals(pid_t supervisor, int lifeline_fd)
{
	static const int list[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, 0};
	const struct timespec now = {0}, look = {.tv_nsec = 50000000};
	bool main = still_main();
	sigset_t set;
	int sig;

	sigemptyset(&set);
	for (const int *s = list; *s; s++)
		sigaddset(&set, *s);
	do {
		sig = sigtimedwait(&set, NULL, main ? &look : &now);
		if (sig == SIGTERM && main && systemd_store(LIFELINE, lifeline_fd) == 0 &&
		    write(lifeline_fd, "", 1) < 0)
			return;
		if (sig > 0 && is_alive(supervisor))
			kill(supervisor, sig);
	} while (sig > 0 || (main && is_alive(supervisor)));
}

/* Waits for the word of the new program; else goes on in its place. */
static _Noreturn void guard(const struct guarded *g, int fd, int lifeline_fd, int files_fd, pid_t supervisor)
{
	struct children *c = g->children;
	struct workers *ws = &c->workers;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int keep[GUARD_FDS + WORLD_WORKERS] = {fd, files_fd, lifeline_fd, g->client_fd};
	size_t n = 4;
	char word;

	proc_title("tcpproxy: guard");
	keep[n++] = g->network->control_fd;
	for (size_t i = 0; i < g->network->blanks.n; i++)
		keep[n++] = g->network->blanks.fds[i];
	for (size_t i = 0; i < g->admin_sockets->n && n < GUARD_FDS / 2; i++)
		keep[n++] = g->admin_sockets->list[i].fd;
	n += logger_fds(ws->logger, keep + n, GUARD_FDS / 2);
	for (uint32_t i = 0; i < ws->n; i++)
		keep[n++] = ws->list[i].wake_fd;
	proc_close_except(3, keep, n);
	if (poll(&p, 1, GUARD_LIMIT_MS) == 1 && read(fd, &word, 1) == 1) {
		systemd_main_pid(supervisor);
		pass_on_signals(supervisor, lifeline_fd);
		close(lifeline_fd);
		if (files_fd >= 0)
			close(files_fd);
		admin_sockets_let_go(g->admin_sockets);
		c->spawner.child.control.fd = -1; /* the new supervisor hears it */
		if (word == READ_ON)
			last_reader_run(c);
		_exit(0);
	}
	if (is_alive(supervisor))
		kill(supervisor, SIGKILL);
	systemd_inherit();
	inherit_put(&(struct inheritance){.files = files_fd,
	                                  .guard = INHERIT_ROLLED_BACK,
	                                  .lifeline = -1,
	                                  .spawner = -1,
	                                  .network = *g->network,
	                                  .key = ws->key,
	                                  .client = g->client_fd,
	                                  .admin = *g->admin_sockets});
	guard_stay_private();
	/* the file may have been replaced; this is the program that we are */
	execv("/proc/self/exe", g->argv);
	_exit(1);
}

int guard_start(struct guard *g, const struct guarded *what)
{
	pid_t supervisor = getpid(), pid;
	int ends[2], lifeline[2], files_fd;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(lifeline, O_CLOEXEC | O_NONBLOCK) < 0) {
		close(ends[0]);
		close(ends[1]);
		return -EMFILE;
	}
	files_fd = files_another(what->files); /* ours stays ours */
	pid = fork();
	if (pid == 0)
		guard(what, ends[0], lifeline[1], files_fd, supervisor);
	close(ends[0]);
	close(lifeline[1]);
	if (files_fd >= 0)
		close(files_fd);
	if (pid < 0) {
		close(ends[1]);
		close(lifeline[0]);
		return -EAGAIN;
	}
	if (g->lifeline_fd >= 0)
		close(g->lifeline_fd); /* of an earlier upgrade */
	g->lifeline_fd = lifeline[0];
	systemd_main_pid(pid); /* so that our end is not that of the service; it gives this back */
	return ends[1];
}

static void tell(struct guard *g, char word)
{
	if (g->fd < 0)
		return;
	if (write(g->fd, &word, 1) < 0)
		log_warning("upgrade: the guard is gone");
	close(g->fd);
	g->fd = -1;
}

void guard_release(struct guard *g)
{
	tell(g, GO);
}

bool guard_leave_reader(struct guard *g)
{
	if (g->fd < 0)
		return false;
	tell(g, READ_ON);
	return true;
}
