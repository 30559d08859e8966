/*
 * main.c - which life this process begins: the next program of a trio, a look at the configuration (-C, -z, --explain),
 * one connection on stdin, or the supervisor.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "cmdline/cmdline.h"
#include "files/files.h"
#include "network/network.h"
#include "os/private.h"
#include "os/proc.h"
#include "restart/inherit.h"
#include "restart/restart.h"
#include "restart/trial.h"
#include "single/single.h"
#include "supervisor/supervisor.h"
#include "worker/reexec.h"

#if defined(__SANITIZE_ADDRESS__)
/* A process that ends frees nothing it held to its end, and one that shares a descriptor table must not be
 * looked at by a leak checker; the libraries' own tests look for leaks. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

static struct config *reload(void *arg, const struct config_ops *world, struct config_errors *errors)
{
	return cmdline_reload(arg, world, errors);
}

/* Where we were started from, as it was spelt, made absolute: a symbolic link may lead elsewhere tomorrow. */
static char *binary_path(const char *argv0, const char *cwd)
{
	const char *path = getenv("PATH");
	char *copy, *save = NULL, *found = NULL;

	if (strchr(argv0, '/'))
		return argv0[0] == '/' ? mem_strdup(argv0) : mem_printf("%s/%s", cwd, argv0);
	copy = mem_strdup(path ? path : "");
	for (char *d = strtok_r(copy, ":", &save); d && !found; d = strtok_r(NULL, ":", &save)) {
		found = mem_printf("%s/%s", d, argv0);
		if (access(found, X_OK) < 0) {
			free(found);
			found = NULL;
		}
	}
	free(copy);
	return found ? found : realpath("/proc/self/exe", NULL);
}

/* In an upgrade and in its trial, files of root's are read through the program before us. */
static void read_through(const struct inheritance *left)
{
	static struct files helper;

	helper.fd = left->trial >= 0 ? left->trial : left->files;
	if (helper.fd >= 0)
		reader_use_files(&helper);
}

/* Executed by a version that does not tell: was root given up? What we still may, and what we were given, says so; and whether
 * the process beside us, which has not executed anything, can be looked into. */
static bool may_be_private(const struct inheritance *left)
{
	if (getenv(REEXEC_VARIABLE))
		return private_can_exec() || private_is_of(getppid());
	if (!left->upgraded || geteuid() == 0)
		return false;
	return private_can_exec() || left->files >= 0 || private_is_of(proc_first_child());
}

static int serve(struct cmdline *c, const struct inheritance *left, int lifeline_fd)
{
	char *real = c->config_path ? realpath(c->config_path, NULL) : NULL;
	struct supervisor_setup setup = {.config = c->config,
	                                 .config_path = c->config_path,
	                                 .what = real             ? real
	                                         : c->config_path ? c->config_path
	                                                          : c->bind_list,
	                                 .daemon = c->daemon,
	                                 .dump = c->dump,
	                                 .dump_path = c->dump_path,
	                                 .binary = binary_path(c->argv[0], c->cwd),
	                                 .argv = c->argv,
	                                 .reload = reload,
	                                 .arg = c,
	                                 .world = cmdline_ops(),
	                                 .left = left,
	                                 .lifeline_fd = lifeline_fd};

	c->config = NULL;
	return supervisor_run(&setup);
}

/* -C --network */
static int look_at_network(const struct cmdline *c)
{
	struct buf lines = BUF_INIT;
	bool ok = network_look(c->config, &lines);

	if (!ok)
		log_error_lines("", lines.s);
	buf_release(&lines);
	return ok ? 0 : 1;
}

static int clean_network(void)
{
	struct buf lines = BUF_INIT;
	bool ok = network_clean(&lines);

	if (lines.len)
		log_error_lines("", lines.s);
	buf_release(&lines);
	return ok ? 0 : 1;
}

static int run(int argc, char **argv, const struct inheritance *left, int lifeline_fd, bool stdout_missing)
{
	struct cmdline c;
	int rc;

	read_through(left);
	rc = cmdline_parse(argc, argv, &c);
	if (rc != 0)
		return rc;
	switch (c.mode) {
	case RUN_PORTS:
		return cmdline_ports(&c);
	case RUN_CHECK:
		cmdline_warn(&c);
		rc = cmdline_check(&c);
		return rc == 0 && c.network ? look_at_network(&c) : rc;
	case RUN_CLEAN_NETWORK:
		return clean_network();
	case RUN_EXPLAIN:
		return cmdline_explain(&c);
	case RUN_SINGLE:
		return single_run(c.config, cmdline_ops(), c.server_given, stdout_missing);
	case RUN_SERVE:
		trial_passed();
		if (!left->upgraded) /* nobody is looking on, and the log will say it */
			cmdline_warn(&c);
		proc_title_init(argc, argv);
		return serve(&c, left, lifeline_fd);
	case RUN_DONE:
		break;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct inheritance left;
	const char *trio;
	unsigned missing;
	int lifeline_fd, rc;

	inherit_take(&left);
	private_after_exec(may_be_private(&left));
	trio = getenv(REEXEC_VARIABLE);
	if (trio) {
		proc_title_init(argc, argv);
		reexec_continue(trio);
	}
	missing = proc_fill_streams(); /* first of all: whatever is opened before it may get such a number */
	lifeline_fd = restart_inherit();
	rc = run(argc, argv, &left, lifeline_fd, missing & 1u << STDOUT_FILENO);
	if (rc != 0 && rc != EXIT_AGAIN) /* another try finds all as it is */
		restart_failed(lifeline_fd);
	return rc;
}
