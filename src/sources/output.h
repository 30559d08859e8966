/*
 * output.h - where lists go: to stdout, for `servers program`, each ended by a line ".", or into a file that is renamed over, so that
 * whoever reads it finds a whole list. A list like the last one is not written again.
 */
#ifndef SOURCES_OUTPUT_H
#define SOURCES_OUTPUT_H

#include <stdbool.h>
#include "base/buf.h"
#include "event/loop.h"
#include "sources/lines.h"

struct output {
	struct loop *loop;
	const char *file;   /* NULL: stdout */
	struct buf present; /* what stands there; has_present */
	struct buf wanted;  /* what could not be written yet; retried by the timer */
	struct buf refused; /* what was said of lines that are left out */
	bool has_present, failing;
	bool useless; /* in the last list there was no line that could be taken */
	struct timer again;
	struct watch reader; /* of stdout, which may go away */
};

/* file: NULL is stdout; borrowed. What it holds already is not written again. 0 or -errno: it cannot be written at all. */
int output_begin(struct output *o, struct loop *loop, const char *file);
/* A whole list, finished. If there were entries, and no line of them can be taken, the last list stays. */
void output_list(struct output *o, const struct lines *l, const char *who);

#endif
