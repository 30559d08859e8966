#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "cmdline.h"
#include "daemon/files.h"
#include "daemon/leave.h"
#include "daemon/renew.h"
#include "daemon/single.h"
#include "daemon/supervisor.h"
#include "os/proc.h"

#if defined(__SANITIZE_ADDRESS__)
/* A process that ends frees nothing it held to its end, and one that shares a descriptor table must not be
 * looked at by a leak checker; the libraries' own tests look for leaks. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

static struct config *reload(void *arg, const struct config_world *world,
			     struct config_errors *errors)
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

/* In an upgrade: the helper for files of root's comes from the program before us. */
static void inherit_files(void)
{
	static struct files helper = {.fd = -1};
	const char *text = getenv(FILES_VARIABLE);

	if (!text)
		text = getenv(UPGRADE_VARIABLE);
	if (text && sscanf(text, "%d", &helper.fd) == 1 && helper.fd >= 0)
		world_use_files(&helper);
}

static int serve(struct cmdline *c, int lifeline_fd)
{
	char *real = c->config_path ? realpath(c->config_path, NULL) : NULL;
	struct supervisor_setup setup = {.config = c->config,
					 .config_path = c->config_path,
					 .what = real ? real : c->config_path ? c->config_path : c->bind_list,
					 .daemon = c->daemon,
					 .dump = c->dump,
					 .dump_path = c->dump_path,
					 .binary = binary_path(c->argv[0], c->cwd),
					 .argv = c->argv,
					 .reload = reload,
					 .arg = c,
					 .world = cmdline_world(),
					 .lifeline_fd = lifeline_fd};

	c->config = NULL;
	return supervisor_run(&setup);
}

static int run(int argc, char **argv, int lifeline_fd)
{
	struct cmdline c;
	int rc;

	inherit_files();
	rc = cmdline_parse(argc, argv, &c);
	if (rc != 0)
		return rc;
	switch (c.mode) {
	case RUN_PORTS:
		return cmdline_ports(&c);
	case RUN_CHECK:
		return cmdline_check(&c);
	case RUN_EXPLAIN:
		return cmdline_explain(&c);
	case RUN_SINGLE:
		return single_run(c.config, c.server_given);
	case RUN_SERVE:
		trial_passed();
		proc_title_init(argc, argv);
		return serve(&c, lifeline_fd);
	case RUN_DONE:
		break;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *trio = getenv(RENEW_VARIABLE);
	int lifeline_fd, rc;

	if (trio) {
		proc_title_init(argc, argv);
		renew_continue(trio);
	}
	lifeline_fd = leave_inherit();
	rc = run(argc, argv, lifeline_fd);
	if (rc != 0)
		leave_failed(lifeline_fd);
	return rc;
}
