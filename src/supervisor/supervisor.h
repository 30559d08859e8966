/*
 * supervisor.h - the process that was started: parses, binds, resolves, starts the others and watches
 * them, reloads, writes the log. It reads no byte of any client, and none needs it to go on.
 */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include <stdbool.h>
#include "config/config.h"

struct inheritance;

#define EXIT_NO_START 2
#define EXIT_AGAIN    75 /* EX_TEMPFAIL (sysexits.h): the same may go well in a moment */

/* What the command line amounts to. */
struct supervisor_setup {
	struct config *config;   /* the supervisor's from now on */
	const char *config_path; /* absolute; NULL: no file */
	const char *what;        /* what is served: the real path of the file, or the -b list */
	bool daemon;             /* -D */
	bool dump;               /* --dump, to stderr or to dump_path (absolute) */
	const char *dump_path;
	const char *binary; /* the program's absolute path, symbolic links kept */
	char *const *argv;  /* what it was started with */
	/* For a reload: the file once more, read through `world`, with the same options. NULL: *errors says
	 * why. */
	struct config *(*reload)(void *arg, const struct config_ops *world, struct config_errors *errors);
	void *arg;
	const struct config_ops *world; /* the plain one */
	const struct inheritance *left; /* by the program before us (restart/inherit.h) */
	int lifeline_fd;                /* restart_inherit() */
};

/* Serves until it is told to stop. Returns the exit code. */
int supervisor_run(const struct supervisor_setup *setup);

#endif
