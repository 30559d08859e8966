/* retry.h - a source that fails: when it is asked again, and that the log is told once. */
#ifndef SOURCES_RETRY_H
#define SOURCES_RETRY_H

#include <stdbool.h>
#include <stdint.h>

struct retry {
	unsigned failures; /* in a row; the owner says when they are over */
	char said[512];    /* what was last said of them; "": nothing */
};

/* It has failed again. After so many milliseconds it may be asked again: 1, 2, 4 ... 30 s, not more often. */
int64_t retry_failed(struct retry *r);
/* Says why, unless that was the last thing that was said. */
void retry_say(struct retry *r, const char *who, const char *why);
/* It has answered: says so, if the log knows of a failure. */
void retry_over(struct retry *r, const char *who);

#endif
