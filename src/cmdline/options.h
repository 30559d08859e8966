/*
 * options.h - argv as it was written: which options with which values. Nothing is read or looked
 * up.
 */
#ifndef CMDLINE_OPTIONS_H
#define CMDLINE_OPTIONS_H

#include <stdbool.h>
#include "base/addr.h"
#include "config/config.h"

/* One directive that the command line says, as text and with the option that says it. */
struct option_text {
	char *name, *text;
};

enum option_mode { MODE_RUN, MODE_PORTS, MODE_CHECK, MODE_EXPLAIN, MODE_HELP, MODE_VERSION, MODE_CLEAN_NETWORK };

struct options {
	enum option_mode mode;
	const char *config; /* of -f; NULL: not given */
	const char *server; /* NULL: not given */
	bool daemon, wait;
	bool dump;
	bool network;
	const char *dump_file; /* NULL: stderr */
	bool cut;              /* an error hid what follows it */
	const char **binds;
	size_t n_binds;
	struct option_text *global; /* -t and its kin, -o: what holds everywhere */
	size_t n_global;
	struct option_text *service; /* -o: what belongs into a service */
	size_t n_service;
	struct option_text *section; /* -o: what belongs where the server stands */
	size_t n_section;
	const char *explain_client, *explain_local;
	char **explain_more; /* words that follow */
	size_t n_explain_more;
};

/* The texts point into argv, which is permuted. Errors are added to *errors. */
void options_parse(int argc, char **argv, struct options *ret, struct config_errors *errors);
void options_release(struct options *o);
void options_help(void);

/* Adds an error that stands in no file. */
void usage_error(struct config_errors *errors, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
