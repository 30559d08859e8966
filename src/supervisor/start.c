/*
 * start.c - from the command line to a process that can serve: finds trios without a supervisor, binds all sockets,
 * goes to the background, opens the log, writes the pidfile, and gives up root. What is kept running is started after
 * that (supervisor.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "log/logfile.h"
#include "os/caps.h"
#include "os/daemonize.h"
#include "os/netlink.h"
#include "os/private.h"
#include "os/proc.h"
#include "os/systemd.h"
#include "supervisor/admin_sockets.h"
#include "supervisor/state.h"

/* ---- the log ---- */

static int open_log(void *arg, const char *path)
{
	struct supervisor *s = arg;

	return files_open_log(&s->files, path);
}

static int start_log(struct supervisor *s)
{
	struct log_target fallback = {.kind = s->setup->daemon ? LOG_TO_SYSLOG : LOG_TO_STDERR, .facility = LOG_DAEMON};
	struct logger_ops world = {.arg = s, .open_file = open_log, .error = files_error};
	const struct config *c = s->rules.config;
	struct buf why = BUF_INIT;

	s->logger = logger_new(c->n_logs ? c->logs : &fallback, c->n_logs ? c->n_logs : 1, &world, &why);
	if (!s->logger) {
		log_error("%s", why.s);
		buf_release(&why);
		return EXIT_NO_START;
	}
	return 0;
}

/* ---- the admin sockets ---- */

static int open_admin(struct supervisor *s)
{
	struct admin_sockets inherited = s->admin_sockets;
	struct buf why = BUF_INIT;
	bool ok = admin_sockets_open(&s->files, s->rules.config, &inherited, &s->admin_sockets, &why);

	if (!ok)
		log_error("%s", why.s);
	buf_release(&why);
	admin_sockets_close(NULL, &inherited, ok ? &s->admin_sockets : &inherited);
	return ok ? 0 : EXIT_NO_START;
}

/* ---- the pidfile ---- */

static int write_pidfile(struct supervisor *s)
{
	const char *path = s->rules.config->pidfile;
	int rc = 0;

	if (!path)
		return 0;
	s->pidfile = mem_strdup(path);
	/* an upgrade leaves our pid as it is; one that was rolled back has made us another process, and root is given up */
	if (!s->upgrade.upgraded || upgrade_was_rolled_back(&s->upgrade))
		rc = files_write_pid(&s->files, path, !s->upgrade.upgraded);
	if (rc < 0 && s->upgrade.upgraded)
		log_warning("cannot write the pidfile %s: %s: it still names the process before this one, %d", path,
		            files_error(-rc), (int)getpid());
	else if (rc < 0)
		log_error("cannot write the pidfile %s: %s", path, files_error(-rc));
	return rc < 0 && !s->upgrade.upgraded ? EXIT_NO_START : 0;
}

/* ---- the sockets ---- */

static uint32_t wanted_workers(const struct config *c)
{
	long n = c->workers ? (long)c->workers : sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > WORLD_WORKERS ? WORLD_WORKERS : (uint32_t)n;
}

static bool has_other_user(const struct supervisor *s)
{
	const struct config *c = s->rules.config;
	struct identity id = {.uid = geteuid()};
	char why[160];

	if (geteuid() == 0 && !user_lookup(c->user ? c->user : "nobody", c->group, &id, why, sizeof(why)))
		return false; /* will be said */
	return s->children.workers.orphans.list[0].trio && s->children.workers.orphans.list[0].trio->uid != id.uid;
}

/* A restart is a next start: what takes effect then does so, by other workers. After a crash all stays as it was. */
static void see_what_changed(struct supervisor *s)
{
	if (s->restart.inherited_fd < 0)
		return;
	if (has_other_user(s))
		s->retirees.why = "\"user\" has changed";
	else if (s->children.workers.orphans.n_workers != wanted_workers(s->rules.config))
		s->retirees.why = "\"workers\" has changed";
	else
		return;
	adopt_forget_memory(&s->children.workers.orphans);
}

/* Those whose memory we can read are ours from now on; the others will be retired. */
static void sort_orphans(struct supervisor *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->children.workers.orphans.n; i++) {
		if (s->children.workers.orphans.list[i].trio)
			s->children.workers.orphans.list[n++] = s->children.workers.orphans.list[i];
		else
			retire_take(&s->retirees, &s->children.workers.orphans.list[i]);
	}
	s->children.workers.orphans.n = n;
}

/* Do trios serve here whose supervisor is dead? Their sockets are taken as if they had been passed. 0, or the exit
 * code. */
static int find_orphans(struct supervisor *s, struct sockets *passed)
{
	switch (adopt_find(s->setup->what, s->children.workers.key, &s->children.workers.orphans)) {
	case ADOPT_NONE:
	case ADOPT_INTERRUPTED:
		return 0;
	case ADOPT_SILENT:
		log_error("worker %u, which serves this configuration already, does not answer (is it stopped? see ps "
		          "-eo pid,stat,cmd): "
		          "nothing has changed, and it can be taken over once it answers",
		          s->children.workers.orphans.silent);
		adopt_drop(&s->children.workers.orphans);
		return EXIT_AGAIN;
	case ADOPT_UNKNOWN:
		if (restart_end_others(&s->restart, "are of a version that this one cannot talk to"))
			return 0;
		log_error("a version of tcpproxy that this one cannot talk to, and whose supervisor is dead, still "
		          "serves this configuration: start that version again, or end it with fuser -k -n tcp and "
		          "its ports");
		return EXIT_NO_START;
	case ADOPT_INCOMPATIBLE:
		break;
	case ADOPT_FOUND:
		see_what_changed(s);
		break;
	}
	for (size_t i = 0; i < s->children.workers.orphans.sockets.n; i++)
		sockets_adopt_one(passed, s->children.workers.orphans.sockets.list[i].fd,
		                  s->children.workers.orphans.sockets.list[i].id,
		                  addr_place(&s->children.workers.orphans.sockets.list[i].addr));
	sort_orphans(s);
	return 0;
}

uint32_t supervisor_workers(const struct supervisor *s)
{
	return s->children.workers.orphans.n > 0 ? s->children.workers.orphans.n_workers
	                                         : wanted_workers(s->rules.config);
}

static void tell_taken(const struct supervisor *s, uint32_t number)
{
	char program[PROC_PROGRAM_MAX];
	pid_t pid;
	uid_t uid = rendezvous_taker(s->setup->what, number, &pid);
	char *who = NULL;

	proc_program(pid, program);
	if (uid != (uid_t)-1)
		who = mem_printf(" (uid=%u pid=%d program=%s)", (unsigned)uid, (int)pid, program);
	log_warning("worker %u: somebody else has the name under which the next supervisor would look for it first%s: "
	            "it gets another one",
	            number, who ? who : "");
	free(who);
}

/* Where the next supervisor would find each trio, should we die. */
static void open_doors(struct supervisor *s)
{
	bool taken;

	for (uint32_t i = 0; i < WORLD_WORKERS; i++)
		s->children.workers.doors[i] = -1;
	for (uint32_t i = 0; i < s->children.workers.orphans.n; i++)
		s->children.workers.doors[s->children.workers.orphans.list[i].number] =
		        s->children.workers.orphans.list[i].fds[GREETING_DOOR];
	for (uint32_t i = 0; i < s->retirees.n; i++)
		s->children.workers.doors[s->retirees.list[i].orphan.number] =
		        s->retirees.list[i].orphan.fds[GREETING_DOOR];
	for (uint32_t i = 0; i < supervisor_workers(s); i++) {
		if (s->children.workers.doors[i] >= 0)
			continue;
		s->children.workers.doors[i] = rendezvous_open(s->setup->what, i, &taken);
		if (taken)
			tell_taken(s, i);
		if (s->children.workers.doors[i] < 0)
			log_warning("worker %u: %s: a restart after a crash will not find it", i,
			            strerror(-s->children.workers.doors[i]));
	}
}

static int open_sockets(struct supervisor *s)
{
	struct sockets passed = {0};
	struct buf why = BUF_INIT;
	char *names;
	int n = systemd_listen_fds(&names);
	bool ok;
	int rc = find_orphans(s, &passed);

	if (rc == 0)
		sockets_adopt(&passed, s->rules.config, SYSTEMD_FIRST_FD, n, names);
	free(names);
	if (rc != 0)
		return rc;
	s->n_ifs = netlink_addresses(&s->ifs);
	ok = sockets_open(&passed, s->rules.config, s->ifs, s->n_ifs, &s->network.blanks, &s->rules.listeners, &why);
	if (!ok)
		log_error_lines("", why.s);
	buf_release(&why);
	sockets_close(&passed, ok ? &s->rules.listeners : NULL);
	/* perhaps by ours, which we could not get hold of */
	if (!ok)
		return s->children.workers.orphans.full ? EXIT_AGAIN : EXIT_NO_START;
	if (s->rules.listeners.n == 0) {
		log_error("nothing to listen on: no interface has an address that the configuration "
		          "names (ip addr)");
		return EXIT_NO_START;
	}
	sockets_tune(&s->rules.listeners, s->rules.config, s->ifs, s->n_ifs);
	open_doors(s);
	return 0;
}

/* ---- everything ---- */

/* From the first socket on that answers, others take us for a supervisor that serves: what they ask for waits until the
 * loop hears it. TERM and its like still end a start, should it hang. */
static void hold_requests(void)
{
	static const int list[] = {SIGHUP, SIGUSR1, SIGUSR2, 0};
	sigset_t set;

	sigemptyset(&set);
	for (const int *sig = list; *sig; sig++)
		sigaddset(&set, *sig);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

int supervisor_start(struct supervisor *s)
{
	int rc;

	upgrade_inherit(&s->upgrade, s->setup->left);
	while (s->children.workers.key == 0)
		if (getrandom(&s->children.workers.key, sizeof(s->children.workers.key), 0) < 0)
			s->children.workers.key = (uint64_t)clock_wall_us();
	s->admin_sockets = s->setup->left->admin;
	s->upgrade_client_fd = s->setup->left->client;
	if (s->upgrade.upgraded)
		caps_after_exec();
	s->files.root_was = geteuid() == 0 || private_is();
	logfile_find_group();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* an inherited "ignore" would take the exit codes away */
	hold_requests();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	s->children.spawner.umask = umask(027);
	umask(s->children.spawner.umask);
	proc_raise_nofile(NOFILE_CAP, &s->children.spawner.nofile);
	rc = open_sockets(s);
	if (rc == 0 && geteuid() == 0) {
		struct identity id;

		rc = privileges_identity(s->rules.config, &id) ? 0 : EXIT_NO_START;
	}
	if (rc == 0 && s->setup->daemon && !s->upgrade.upgraded && daemonize() < 0) {
		log_error("cannot go to the background: %s", strerror(errno));
		rc = EXIT_NO_START;
	}
	if (rc == 0)
		rc = start_log(s);
	if (rc == 0)
		rc = open_admin(s);
	/* a program before us has one that goes on */
	if (rc == 0 && s->setup->dump && !s->upgrade.upgraded && s->children.workers.orphans.n == 0 &&
	    !dump_open(&s->children.dump))
		rc = EXIT_NO_START;
	if (rc == 0)
		rc = write_pidfile(s);
	if (rc == 0)
		rc = privileges_give_up(s);
	return rc;
}
