/*
 * main.c - load serve FIRST-PORT HOW-MANY [anywhere] | load drive OPTION... | load hold CPU PROGRAM
 * ARGUMENT...
 *
 * hold runs a program on one CPU and is the ancestor of whatever that starts, daemons included, so
 * that the whole of it can be measured, and ended.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

/* Ends when nothing below it is left. */
int hold(int argc, char **argv)
{
	cpu_set_t set;
	pid_t child;

	if (argc < 3)
		die("usage: load hold CPU PROGRAM ARGUMENT...");
	CPU_ZERO(&set);
	CPU_SET((unsigned)atoi(argv[1]), &set);
	if (sched_setaffinity(0, sizeof set, &set))
		die("cannot run on CPU %s: %s", argv[1], strerror(errno));
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	child = fork();
	if (child < 0)
		die("cannot fork: %s", strerror(errno));
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
		execvp(argv[2], argv + 2);
		die("cannot run %s: %s", argv[2], strerror(errno));
	}
	while (wait(NULL) >= 0 || errno == EINTR)
		;
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files;

	prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0); /* nobody outlives the measurement */
	if (argc > 1 && !strcmp(argv[1], "hold"))
		return hold(argc - 1, argv + 1);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	pattern_init();
	if (argc > 1 && !strcmp(argv[1], "serve"))
		return serve(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "drive"))
		return drive(argc - 1, argv + 1);
	die("usage: load {serve FIRST-PORT HOW-MANY [anywhere] | drive OPTION... | hold CPU PROGRAM "
	    "ARGUMENT...}");
}
