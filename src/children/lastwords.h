/*
 * lastwords.h - what a process of ours writes to stderr goes to the log: the C library that aborts, a library that complains, a
 * sanitizer. It has no terminal and no file there, so it can neither read what is typed, nor draw on a screen, nor
 * fill a disk. The write end is nonblocking: no writer waits for the reader.
 */
#ifndef CHILDREN_LASTWORDS_H
#define CHILDREN_LASTWORDS_H

#include "event/loop.h"
#include "program/lines.h"

struct lastwords {
	struct lines lines;
	char who[32]; /* what its lines begin with */
};

/* Begins to listen. Returns the other end, the caller's, to become descriptor 2 of the process; or -errno. What the process
 * before it had there is read first, and closed. One that is all zero has nothing open. */
int lastwords_open(struct lastwords *w, struct loop *l, const char *who, ...) __attribute__((format(printf, 3, 4)));
/* Logs what has been said so far: before it is told that the process has died. */
void lastwords_hear(struct lastwords *w);
void lastwords_close(struct lastwords *w);

#endif
