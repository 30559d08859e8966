#include <stdlib.h>
#include "cmdline.h"
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

static int serve(struct cmdline *c)
{
	char *real = c->config_path ? realpath(c->config_path, NULL) : NULL;
	struct supervisor_setup setup = {.config = c->config,
					 .config_path = c->config_path,
					 .what = real ? real : c->config_path ? c->config_path : c->bind_list,
					 .daemon = c->daemon,
					 .reload = reload,
					 .arg = c,
					 .world = cmdline_world()};

	c->config = NULL;
	return supervisor_run(&setup);
}

int main(int argc, char **argv)
{
	struct cmdline c;
	int rc = cmdline_parse(argc, argv, &c);

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
		proc_title_init(argc, argv);
		return serve(&c);
	case RUN_DONE:
		break;
	}
	return 0;
}
