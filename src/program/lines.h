/*
 * lines.h - what a program, or a process of ours, says on stderr, as lines of the log.
 *
 * A line that is longer than LINES_MAX is logged in parts, an empty one not at all; an unfinished
 * last one is logged at the end. What would move a cursor becomes `?` (base/utf8.h), a tab a space.
 */
#ifndef PROGRAM_LINES_H
#define PROGRAM_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include "base/log.h"
#include "event/loop.h"

#define LINES_MAX 1024

struct lines {
	struct loop *loop;
	struct watch watch;
	enum log_level level;
	const char *label; /* borrowed: "LABEL: line" is logged */
	void (*eof)(void *arg);
	void *arg;
	size_t len;
	char text[LINES_MAX];
};

/* fd: nonblocking read end, owned from now on (closed on failure, too). eof(arg) is called when
 * every writer has gone; the descriptor is closed already. Returns 0 or -errno. */
int lines_start(struct lines *l, struct loop *loop, int fd, enum log_level level, const char *label,
                void (*eof)(void *arg), void *arg);
/* Takes what is in the pipe now, without waiting. May call eof. */
void lines_drain(struct lines *l);
bool lines_open(const struct lines *l);
/* Logs the unfinished rest and closes. Takes one that is all zero. */
void lines_stop(struct lines *l);

#endif
