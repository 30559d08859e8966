/*
 * trial.c - the program at the path we were started from is tried before anything is risked for it, twice:
 *
 *   1. with our command line and --check: does it accept the running configuration?
 *   2. with our command line as it is: does it get as far as serving? There it says so, and ends.
 *
 * So a program that ends where it ought to serve changes nothing. One that does so only once it has taken our place is what
 * the guard is for (upgrade.c), and costs our pid.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "daemon/supervisor.h"

#define TRIAL_LIMIT_MS 10000
#define REHEARSAL      "TCPPROXY_REHEARSAL"
#define READY          "ready to serve\n"

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
	char text[65536];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return right(text);
}

static bool is_configuration(const char *text)
{
	return strncmp(text, "port ", 5) == 0 || strstr(text, "\nport ");
}

static bool is_ready(const char *text)
{
	return strcmp(text, READY) == 0;
}

static void judge(struct supervisor *s, int status)
{
	if (status != 0)
		upgrade_failed(s, "%s %s (%s %d): nothing has changed", s->setup->binary,
			       s->rehearsing ? "ends instead of serving"
					     : "does not accept the running configuration",
			       WIFSIGNALED(status) ? "signal" : "exit status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	else if (!printed(s->check_out, s->rehearsing ? is_ready : is_configuration))
		upgrade_failed(s, "%s %s: nothing has changed", s->setup->binary,
			       s->rehearsing ? "ends instead of serving"
					     : "--check did not print the configuration, so it is no tcpproxy");
	else
		s->check_passed = true;
}

static void begin(struct supervisor *s, bool rehearsing);

static void trial_over(void *arg, enum run_event event, int value)
{
	struct supervisor *s = arg;

	if (event == RUN_FAILED)
		upgrade_failed(s, "cannot execute %s: %s: nothing has changed", s->setup->binary,
			       strerror(value));
	if (event == RUN_EXITED)
		judge(s, value);
	if (event != RUN_FINISHED)
		return;
	timer_clear(&s->loop, &s->check_timer);
	run_release(&s->check);
	close(s->check_out);
	s->checking = false;
	if (!s->check_passed || s->stopping || s->quitting || s->leaving)
		return;
	if (s->rehearsing)
		upgrade_become(s);
	else
		begin(s, true);
}

static void trial_too_long(void *arg)
{
	struct supervisor *s = arg;

	upgrade_failed(s, "%s%s does not end within %d s: nothing has changed", s->setup->binary,
		       s->rehearsing ? ", tried as it is to serve," : " --check", TRIAL_LIMIT_MS / 1000);
	run_end(&s->check, 0);
}

/* Our command line, for a check with --check in front. */
static char **trial_argv(const struct supervisor *s, bool rehearsing)
{
	char **argv, **next;
	int n = 0;

	while (s->setup->argv[n])
		n++;
	argv = next = mem_alloc(((size_t)n + 2) * sizeof(char *));
	*next++ = (char *)s->setup->binary;
	if (!rehearsing)
		*next++ = (char *)"--check";
	for (int i = 1; i < n; i++)
		*next++ = s->setup->argv[i];
	return argv;
}

static void begin(struct supervisor *s, bool rehearsing)
{
	struct spawn what = {.umask = s->umask_before, .keep_cwd = true};
	char **argv = trial_argv(s, rehearsing);
	int rc;

	s->check_out = memfd_create("tcpproxy-check", MFD_CLOEXEC);
	what.argv = argv;
	what.fds[1] = s->check_out;
	/* a private configuration is read through the helper */
	what.fds[0] = s->files.fd >= 0 ? s->files.fd : s->check_out;
	if (s->files.fd >= 0)
		setenv(FILES_VARIABLE, "0", 1);
	if (rehearsing)
		setenv(REHEARSAL, "1", 1);
	what.env = environ;
	s->check_passed = false;
	s->checking = true;
	s->rehearsing = rehearsing;
	rc = s->check_out < 0 ? -errno
			      : run_start(&s->check, &s->loop, &what, "upgrade: the new program",
					  trial_over, s);
	unsetenv(FILES_VARIABLE);
	unsetenv(REHEARSAL);
	free(argv);
	if (rc < 0) {
		upgrade_failed(s, "cannot try %s: %s: nothing has changed", s->setup->binary,
			       strerror(-rc));
		s->checking = false;
		return;
	}
	timer_set(&s->loop, &s->check_timer, s->loop.now_ms + TRIAL_LIMIT_MS, trial_too_long, s);
}

void trial_stop(struct supervisor *s)
{
	if (s->checking)
		run_end(&s->check, 0);
}

bool supervisor_upgrade(struct supervisor *s)
{
	if (s->checking || s->renewing < s->n_crews) {
		log_warning("upgrade: one is under way already");
		return false;
	}
	s->upgrade_told = false;
	begin(s, false);
	return true;
}
