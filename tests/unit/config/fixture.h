/* fixture.h - a world of files that exist only here. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "config/config.h"

struct fixture_file {
	const char *path, *text;
};

/* The files of the test at hand; the last one has no path. */
extern const struct fixture_file *fixture_files;
extern const struct config_ops fixture_world;

/* The index of the interface ve0; 0: it is not there, as at first. lo is 1. */
extern unsigned fixture_ve0;

/* Parses what must be right, or what must be wrong: the messages, one a line (free()). */
struct config *parse_good(const char *text);
char *parse_bad(const char *text);
char *printed(const struct config *c);

#endif
