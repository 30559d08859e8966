#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "daemon/leave.h"
#include "daemon/supervisor.h"
#include "os/netlink.h"
#include "os/proc.h"
#include "os/systemd.h"

#define EXIT_NO_START  2
#define OOM_SCORE      (-500) /* the keepers' memory is tiny; what they hold is everybody's connections */

/* ---- -D: the foreground process waits for the verdict ---- */

static int report_fd = -1;

static _Noreturn void wait_for_child(int fd, pid_t pid)
{
	unsigned char code = EXIT_NO_START;
	int status;

	if (read(fd, &code, 1) == 1)
		_exit(code);
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		_exit(WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_NO_START);
	_exit(EXIT_NO_START);
}

static int go_to_background(void)
{
	int pipe_ends[2];
	pid_t pid;

	if (pipe2(pipe_ends, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		close(pipe_ends[1]);
		wait_for_child(pipe_ends[0], pid);
	}
	close(pipe_ends[0]);
	report_fd = pipe_ends[1];
	setsid();
	return 0;
}

void supervisor_tell_ready(const struct supervisor *s, const char *trouble)
{
	char *status = mem_printf("%s%sservices: %zu, listening sockets: %zu, workers: %u",
				  trouble ? trouble : "", trouble ? "; " : "",
				  s->config->n_services, s->sockets.n, s->n_crews);

	systemd_ready(status);
	free(status);
}

static void feed_watchdog(void *arg)
{
	struct supervisor *s = arg;

	systemd_alive();
	timer_set(&s->loop, &s->watchdog_timer, s->loop.now_ms + systemd_watchdog_ms(),
		  feed_watchdog, s);
}

void supervisor_ready(struct supervisor *s)
{
	if (s->setup->daemon && report_fd >= 0) {
		proc_null_streams(2);
		if (write(report_fd, "\0", 1) < 0)
			log_warning("the process that started us is gone");
		close(report_fd);
		report_fd = -1;
	}
	supervisor_tell_ready(s, NULL);
	if (systemd_watchdog_ms() > 0)
		feed_watchdog(s);
}

/* ---- the log ---- */

static int open_log(void *arg, const char *path)
{
	struct supervisor *s = arg;

	return files_open_log(&s->files, path);
}

static int start_log(struct supervisor *s)
{
	struct log_target fallback = {.kind = s->setup->daemon ? LOG_TO_SYSLOG : LOG_TO_STDERR,
				      .facility = LOG_DAEMON};
	struct logger_world world = {.arg = s, .open_file = open_log};
	const struct config *c = s->config;
	struct buf why = BUF_INIT;

	s->logger = logger_new(c->n_logs ? c->logs : &fallback, c->n_logs ? c->n_logs : 1, &world,
			       &why);
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
	bool ok = admin_sockets_open(s, s->config, &inherited, &s->admin_sockets, &why);

	if (!ok)
		log_error("%s", why.s);
	buf_release(&why);
	admin_sockets_close(NULL, &inherited, ok ? &s->admin_sockets : &inherited);
	return ok ? 0 : EXIT_NO_START;
}

/* ---- the pidfile ---- */

/* After an upgrade that was rolled back: the one who held the pid in it is dead, and root is given up. */
static void rewrite_pidfile(struct supervisor *s)
{
	int fd = files_open_log(&s->files, s->pidfile);

	if (fd < 0 || ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		log_warning("the pidfile %s still names the process before this one, %d", s->pidfile, (int)getpid());
	if (fd >= 0)
		close(fd);
}

static int write_pidfile(struct supervisor *s)
{
	const char *path = s->config->pidfile;
	FILE *f;

	if (!path)
		return 0;
	if (s->upgraded) { /* it says our pid already */
		s->pidfile = mem_strdup(path);
		if (upgrade_was_rolled_back(s))
			rewrite_pidfile(s);
		return 0;
	}
	f = fopen(path, "we");
	if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f) != 0) {
		log_error("cannot write the pidfile %s: %s", path, strerror(errno));
		return EXIT_NO_START;
	}
	s->pidfile = mem_strdup(path);
	return 0;
}

/* ---- the user ---- */

static void add_directory(char ***list, size_t *n, const char *path)
{
	char *copy = mem_strdup(path);
	char *directory = dirname(copy);

	*list = mem_resize(*list, *n + 1, sizeof(char *));
	(*list)[(*n)++] = mem_strdup(directory);
	free(copy);
}

/* Where files of root's may have to be touched later. */
static size_t private_directories(const struct supervisor *s, char ***ret)
{
	const struct config *c = s->config;
	size_t n = 0;

	*ret = NULL;
	for (char **f = c->files; f && *f; f++)
		add_directory(ret, &n, *f);
	for (size_t i = 0; i < c->n_logs; i++)
		if (c->logs[i].kind == LOG_TO_FILE)
			add_directory(ret, &n, c->logs[i].path);
	if (c->pidfile)
		add_directory(ret, &n, c->pidfile);
	for (size_t i = 0; i < s->admin_sockets.n; i++)
		if (!s->admin_sockets.list[i].page)
			add_directory(ret, &n, s->admin_sockets.list[i].path);
	for (size_t i = 0; i < c->n_admins; i++)
		if (c->admins[i].token)
			add_directory(ret, &n, c->admins[i].token);
	return n;
}

static void start_files(struct supervisor *s, const struct identity *id)
{
	char **directories;
	size_t n = private_directories(s, &directories);

	if (n > 0 && !files_start(&s->files, id, directories, n))
		log_warning("this kernel has no landlock, so the right to read and write files of root is "
			    "given up: removing the pidfile, reopening logs and reloading work only "
			    "where %s may do it",
			    id->user[0] ? id->user : "the service's user");
	for (size_t i = 0; i < n; i++)
		free(directories[i]);
	free(directories);
}

static bool find_identity(const struct config *c, struct identity *id)
{
	char why[160];

	if (user_lookup(c->user ? c->user : "nobody", c->group, id, why, sizeof(why)))
		return true;
	log_error("%s", why);
	return false;
}

static int give_up_root(struct supervisor *s)
{
	const int keep[] = {CAP_NET_BIND_SERVICE};
	/* a file may be reloaded with a new low port in it; what -b opened never changes */
	size_t n_keep = s->setup->config_path ? 1 : 0;
	struct identity id;
	int rc;

	if (s->upgraded)
		return 0;
	if (geteuid() != 0) {
		if (s->config->user || s->config->group)
			log_warning("not started by root: running as who we are, not as \"user\" and "
				    "\"group\" say");
		return 0;
	}
	if (!find_identity(s->config, &id))
		return EXIT_NO_START;
	proc_oom_score(OOM_SCORE);
	start_files(s, &id);
	sockets_give(&s->sockets, id.uid);
	admin_sockets_give(&s->admin_sockets, &id);
	rc = user_become(&id, keep, n_keep);
	if (rc < 0) {
		log_error("cannot become user %s: %s", id.user, strerror(-rc));
		return EXIT_NO_START;
	}
	s->identity = mem_printf(
		"running as user %s (uid %u, gid %u)%s%s", id.user, (unsigned)id.uid, (unsigned)id.gid,
		n_keep ? ", keeping CAP_NET_BIND_SERVICE for ports of a reload" : "",
		s->files.fd >= 0 ? ", CAP_DAC_OVERRIDE in a process confined to our files" : "");
	return 0;
}

/* ---- the sockets ---- */

static uint32_t wanted_workers(const struct config *c)
{
	long n = c->workers ? (long)c->workers : sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > WORLD_WORKERS ? WORLD_WORKERS : (uint32_t)n;
}

static bool has_other_user(const struct supervisor *s)
{
	const struct config *c = s->config;
	struct identity id = {.uid = geteuid()};
	char why[160];

	if (geteuid() == 0 &&
	    !user_lookup(c->user ? c->user : "nobody", c->group, &id, why, sizeof(why)))
		return false; /* will be said */
	return s->orphans.list[0].trio && s->orphans.list[0].trio->uid != id.uid;
}

/* A restart is a next start: what takes effect then does so, by other workers. After a crash all stays as it was. */
static void see_what_changed(struct supervisor *s)
{
	if (s->inherited_fd < 0)
		return;
	if (has_other_user(s))
		s->retire_why = "\"user\" has changed";
	else if (s->orphans.n_workers != wanted_workers(s->config))
		s->retire_why = "\"workers\" has changed";
	else
		return;
	adopt_forget_memory(&s->orphans);
}

/* Those whose memory we can read are ours from now on; the others will be retired. */
static void sort_orphans(struct supervisor *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->orphans.n; i++) {
		if (s->orphans.list[i].trio)
			s->orphans.list[n++] = s->orphans.list[i];
		else
			retire_take(s, &s->orphans.list[i]);
	}
	s->orphans.n = n;
}

/* Does anybody serve here whose supervisor is dead? Their sockets are taken as if they had been passed. */
static bool find_orphans(struct supervisor *s, struct sockets *passed)
{
	switch (adopt_find(s->setup->what, &s->orphans)) {
	case ADOPT_NONE:
	case ADOPT_INTERRUPTED:
		adopt_release(&s->orphans);
		return true;
	case ADOPT_UNKNOWN:
		if (leave_end_others(s, "are of a version that this one cannot talk to"))
			return true;
		log_error("a version of tcpproxy that this one cannot talk to, and whose supervisor is dead, still "
			  "serves this configuration: start that version again, or end it with fuser -k -n tcp and "
			  "its ports");
		return false;
	case ADOPT_INCOMPATIBLE:
		break;
	case ADOPT_FOUND:
		see_what_changed(s);
		break;
	}
	for (size_t i = 0; i < s->orphans.sockets.n; i++)
		sockets_adopt_one(passed, s->orphans.sockets.list[i].fd, s->orphans.sockets.list[i].id);
	sort_orphans(s);
	return true;
}

uint32_t supervisor_workers(const struct supervisor *s)
{
	return s->orphans.n > 0 ? s->orphans.n_workers : wanted_workers(s->config);
}

/* Where the next supervisor would find each trio, should we die. */
static void open_doors(struct supervisor *s)
{
	for (uint32_t i = 0; i < WORLD_WORKERS; i++)
		s->doors[i] = -1;
	for (uint32_t i = 0; i < s->orphans.n; i++)
		s->doors[s->orphans.list[i].number] = s->orphans.list[i].fds[GREETING_DOOR];
	for (uint32_t i = 0; i < s->retirees.n; i++)
		s->doors[s->retirees.list[i].orphan.number] = s->retirees.list[i].orphan.fds[GREETING_DOOR];
	for (uint32_t i = 0; i < supervisor_workers(s); i++) {
		if (s->doors[i] >= 0)
			continue;
		s->doors[i] = door_open(s->setup->what, i);
		if (s->doors[i] < 0)
			log_warning("worker %u: %s: a restart after a crash will not find it", i,
				    strerror(-s->doors[i]));
	}
}

static int open_sockets(struct supervisor *s)
{
	struct sockets passed = {0};
	struct buf why = BUF_INIT;
	int n = systemd_listen_fds();
	bool ok;

	if (!find_orphans(s, &passed))
		return EXIT_NO_START;
	sockets_adopt(&passed, SYSTEMD_FIRST_FD, n);
	s->n_ifs = netlink_addresses(&s->ifs);
	ok = sockets_open(&passed, s->config, s->ifs, s->n_ifs, &s->sockets, &why);
	if (!ok)
		log_error_lines("", why.s);
	buf_release(&why);
	sockets_close(&passed, ok ? &s->sockets : NULL);
	if (!ok)
		return EXIT_NO_START;
	if (s->sockets.n == 0) {
		log_error("nothing to listen on: no interface has an address that the configuration "
			  "names (ip addr)");
		return EXIT_NO_START;
	}
	sockets_tune(&s->sockets, s->config, s->ifs, s->n_ifs);
	open_doors(s);
	return 0;
}

/* ---- everything ---- */

static void open_missing_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

/* From the first socket on that answers, others take us for one who serves: what they then ask for waits until the loop
 * hears it. TERM and its like still end a start, should it hang. */
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

	s->upgraded = upgrade_inherit(s);
	admin_inherit(s);
	if (s->upgraded)
		user_after_exec();
	open_missing_streams();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* an inherited "ignore" would take the exit codes away */
	hold_requests();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	s->umask_before = umask(027);
	umask(s->umask_before);
	proc_raise_nofile(NOFILE_CAP, &s->nofile_before);
	rc = open_sockets(s);
	if (rc == 0 && geteuid() == 0) {
		struct identity id;

		rc = find_identity(s->config, &id) ? 0 : EXIT_NO_START;
	}
	if (rc == 0 && s->setup->daemon && !s->upgraded && go_to_background() < 0) {
		log_error("cannot go to the background: %s", strerror(errno));
		rc = EXIT_NO_START;
	}
	if (rc == 0)
		rc = start_log(s);
	if (rc == 0)
		rc = open_admin(s);
	if (rc == 0)
		rc = dump_open(s);
	if (rc == 0)
		rc = write_pidfile(s);
	if (rc == 0)
		rc = give_up_root(s);
	return rc;
}
