#include "restart/trial.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "os/file.h"
#include "os/private.h"
#include "restart/inherit.h"

#define TRIAL_LIMIT_MS  10000
#define STDERR_LIMIT_MS 5000        /* a script in its place may leave something in the background */
#define PRINTED_MAX     (64u << 20) /* as of a configuration: what it prints is in memory */
#define REHEARSAL       "TCPPROXY_REHEARSAL"
#define READY           "ready to serve\n"

/* The program is tried twice:
 *
 *   1. with our command line and --check: does it accept the running configuration?
 *   2. with our command line as it is: does it get as far as serving? There it says so, and ends.
 *
 * So a program that ends where it ought to serve changes nothing. One that does so only once it has taken our place is what
 * the guard is for (upgrade.c), and costs our pid.
 */

/* ---- in the new program ---- */

void trial_passed(void)
{
	if (!getenv(REHEARSAL))
		return;
	fputs(READY, stdout);
	exit(fflush(stdout) == 0 ? 0 : 1);
}

/* ---- in the old one ---- */

static bool printed(int fd, bool (*right)(const char *text))
{
	const char *why;
	char *text = lseek(fd, 0, SEEK_SET) == 0 ? file_read_all(fd, &why) : NULL;
	bool it_is = text && right(text);

	free(text);
	return it_is;
}

static bool is_configuration(const char *text)
{
	return strncmp(text, "port ", 5) == 0 || strstr(text, "\nport ");
}

static bool is_ready(const char *text)
{
	return strcmp(text, READY) == 0;
}

/* The first reason is the one that is told. */
static void fail(struct trial *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct trial *t, const char *fmt, ...)
{
	struct buf text = BUF_INIT;
	va_list ap;

	if (t->told)
		return;
	t->told = true;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	buf_adds(&text, ": nothing has changed");
	t->events->failed(t->arg, text.s);
	buf_release(&text);
}

static void judge(struct trial *t, int status)
{
	if (status != 0)
		fail(t, "%s %s (%s %d)", t->binary,
		     t->rehearsing ? "ends instead of serving" : "does not accept the running configuration",
		     WIFSIGNALED(status) ? "signal" : "exit status",
		     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	else if (!printed(t->out, t->rehearsing ? is_ready : is_configuration))
		fail(t, "%s %s", t->binary,
		     t->rehearsing ? "ends instead of serving"
		                   : "--check did not print the configuration, so it is no tcpproxy");
	else
		t->right = true;
}

static void begin(struct trial *t, bool rehearsing);

static void trial_over(void *arg, enum run_event event, int value)
{
	struct trial *t = arg;
	const char *why = phase_refuses(*t->children->workers.phase, REQUEST_UPGRADE);

	if (event == RUN_FAILED)
		fail(t, "cannot execute %s: %s", t->binary, strerror(value));
	if (event == RUN_EXITED) {
		t->children->trial = 0;
		judge(t, value);
	}
	if (event != RUN_FINISHED)
		return;
	timer_clear(t->children->workers.loop, &t->timer);
	run_release(&t->run);
	trial_files_stop(&t->files);
	close(t->out);
	t->under_way = false;
	t->children->trial = 0;
	if (!t->right)
		return;
	if (why)
		fail(t, "%s", why);
	else if (t->rehearsing)
		t->events->passed(t->arg);
	else
		begin(t, true);
}

static void too_long(void *arg)
{
	struct trial *t = arg;

	fail(t, "%s%s does not end within %d s", t->binary, t->rehearsing ? ", tried as it is to serve," : " --check",
	     TRIAL_LIMIT_MS / 1000);
	run_end(&t->run, 0);
}

/* Our command line, for a check with --check in front. */
static char **trial_argv(const struct trial *t, bool rehearsing)
{
	char **argv, **next;
	int n = 0;

	while (t->argv[n])
		n++;
	argv = next = mem_alloc(((size_t)n + 2) * sizeof(char *));
	*next++ = (char *)t->binary;
	if (!rehearsing)
		*next++ = (char *)"--check";
	for (int i = 1; i < n; i++)
		*next++ = t->argv[i];
	return argv;
}

static void begin(struct trial *t, bool rehearsing)
{
	struct workers *ws = &t->children->workers;
	struct spawn what = {.umask = t->children->spawner.umask,
	                     .file_max = PRINTED_MAX,
	                     .keep_cwd = true,
	                     .keep_private = private_is()};
	char **argv = trial_argv(t, rehearsing);
	int files_fd = trial_files_start(&t->files);
	int rc;

	t->out = memfd_create("tcpproxy-check", MFD_CLOEXEC);
	what.argv = argv;
	what.fds[1] = t->out;
	/* a private configuration is read through us */
	what.fds[0] = files_fd >= 0 ? files_fd : t->out;
	if (files_fd >= 0)
		setenv(INHERIT_TRIAL_VARIABLE, "0", 1);
	if (private_is())
		setenv(PRIVATE_VARIABLE, "1", 1);
	if (rehearsing)
		setenv(REHEARSAL, "1", 1);
	what.env = environ;
	t->right = false;
	t->under_way = true;
	t->rehearsing = rehearsing;
	rc = t->out < 0 ? -errno : run_start(&t->run, ws->loop, &what, "upgrade: the new program", trial_over, t);
	unsetenv(INHERIT_TRIAL_VARIABLE);
	unsetenv(PRIVATE_VARIABLE);
	unsetenv(REHEARSAL);
	free(argv);
	if (files_fd >= 0)
		close(files_fd);
	if (rc < 0) {
		run_release(&t->run);
		trial_files_stop(&t->files);
		if (t->out >= 0)
			close(t->out);
		t->under_way = false;
		fail(t, "cannot try %s: %s", t->binary, strerror(-rc));
		return;
	}
	t->children->trial = t->run.process.pid;
	t->run.stderr_ms = STDERR_LIMIT_MS;
	timer_set(ws->loop, &t->timer, ws->loop->now_ms + TRIAL_LIMIT_MS, too_long, t);
}

void trial_begin(struct trial *t, struct files *files)
{
	t->files = (struct trial_files){.loop = t->children->workers.loop, .files = files, .watch.fd = -1};
	t->told = false;
	begin(t, false);
}

void trial_stop(struct trial *t)
{
	if (t->under_way)
		run_end(&t->run, 0);
}
