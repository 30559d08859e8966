/*
 * cmdline.h - argv in, what to do and with which configuration out.
 *
 * Options, -b and -o are turned into configuration text and parsed by config/, so that the command
 * line and the file can say the same things and fail in the same words.
 */
#ifndef CMDLINE_CMDLINE_H
#define CMDLINE_CMDLINE_H

#include <stdbool.h>
#include "base/addr.h"
#include "config/config.h"
#include "config/explain.h"

enum run_mode {
	RUN_SERVE,         /* -b, or a configuration file with `standalone yes` */
	RUN_SINGLE,        /* one connection on stdin/stdout */
	RUN_PORTS,         /* -z */
	RUN_CHECK,         /* -C */
	RUN_EXPLAIN,       /* --explain */
	RUN_CLEAN_NETWORK, /* --clean-network; no configuration is read */
	RUN_DONE           /* -V, -h: said already */
};

struct cmdline {
	enum run_mode mode;
	struct config *config;  /* owned; NULL for RUN_DONE and RUN_CLEAN_NETWORK */
	char *config_path;      /* absolute; NULL: no file was read (-b or a server) */
	bool server_given;      /* RUN_SINGLE with a server argument: config.sections[0] serves,
	                             * whatever the local address */
	char *bind_list;        /* the -b list as one word, for names of things; "" without */
	bool daemon;            /* -D */
	bool network;           /* --network, beside -C */
	bool dump;              /* --dump */
	const char *dump_path;  /* absolute; NULL: stderr */
	struct explain explain; /* RUN_EXPLAIN */
	char *cwd;              /* at start: relative names are meant from here */
	/* copies, kept so that a reload applies the same options to the file again */
	int argc;
	char **argv;
};

/* Parses argv; prints help or version itself. Errors are printed on stderr, every one of them, each as
 * "tcpproxy: ...". Returns 0, or the exit code (1). */
int cmdline_parse(int argc, char **argv, struct cmdline *ret);
void cmdline_release(struct cmdline *c);

/* What is probably not meant, on stderr, each as "tcpproxy: warning: ...". */
void cmdline_warn(const struct cmdline *c);

/* The configuration once more (reload): reads files through `world`, applies the same options.
 * NULL: *errors says why. */
struct config *cmdline_reload(const struct cmdline *c, const struct config_ops *world, struct config_errors *errors);

/* The world as a process without special rights sees it: plain files, glob(3), /etc/services, the interfaces. */
const struct config_ops *cmdline_ops(void);
/* Files that may not be read are asked of this helper (files/files.h). */
struct files;
void reader_use_files(struct files *helper);

/* --explain, -z and -C: print on stdout, return the exit code. */
int cmdline_explain(const struct cmdline *c);
int cmdline_ports(const struct cmdline *c);
int cmdline_check(const struct cmdline *c);

#endif
