/* checks.h - one check line: between checks.c, which reads it, and check_options.c. */
#ifndef CONFIG_CHECKS_H
#define CONFIG_CHECKS_H

#include <stdbool.h>
#include "config/parser.h"

#define PACE_MIN_MS 100
#define NOT_YET     "is not yet supported in this version"

bool check_word_is_option(const char *text); /* NAME=VALUE, and no path */
bool check_word_is_plain(const char *text);  /* can stand in a request as it is: ASCII without blanks */

/* Reads an option into *l. kind: NULL: it has not been said yet. *said has a bit for each option that was. False: an
 * error was added. */
bool check_option_read(struct parser *p, const struct word *w, const char *kind, unsigned *said, struct check_line *l);

#endif
