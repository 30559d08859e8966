/*
 * wire.h - how "tcpproxy: files" is asked (files.h). It outlives upgrades, so either side may be of another version.
 *
 * A question names what it wants by the path under which it was listed, and carries a serial, which the answer repeats.
 * A helper that is asked in a version that it does not know answers with the four bytes of -EPROTO, as the first
 * version did.
 */
#ifndef FILES_WIRE_H
#define FILES_WIRE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers of the first three are those of version 1, which has no others. */
enum files_verb {
	FILES_READ,    /* a descriptor to read it */
	FILES_APPEND,  /* a descriptor to append to it; made if missing */
	FILES_REMOVE,  /* a file, socket or empty directory */
	FILES_LIST,    /* a pattern: a descriptor to read the paths that match, each with its NUL */
	FILES_PID,     /* a pidfile: the asker's pid is written to it */
	FILES_ANOTHER, /* a descriptor to ask by, for another process */
	FILES_NEW,     /* a descriptor to write a new one that is to take its place ... */
	FILES_COMMIT,  /* ... and now does */
};

#ifdef OTHER_LAYOUT
#define FILES_VERSION   (2 + 2 * OTHER_LAYOUT)
#define FILES_VERSION_1 (1 + 2 * OTHER_LAYOUT)
#else
#define FILES_VERSION   2
#define FILES_VERSION_1 1
#endif

#define FILES_WHY_MAX 128

struct files_question {
	uint32_t version;
	uint32_t verb;
	uint64_t serial;
	char path[PATH_MAX]; /* no more of it is sent than its NUL */
};

struct files_answer {
	int32_t result; /* 0 or -errno; first in every version */
	uint32_t version;
	uint64_t serial;
	char why[FILES_WHY_MAX]; /* what strerror() would not say; may be empty */
};

/* Version 1: of a fixed size. Its answer is the result alone. */
struct files_question_1 {
	uint32_t version;
	uint32_t verb;
	char path[PATH_MAX];
};

/* What was asked, in whichever version. */
struct files_wish {
	uint32_t version; /* 0: in none that we know */
	enum files_verb verb;
	uint64_t serial;
	char path[PATH_MAX];
};

/* Takes a message of `len` bytes apart. */
void files_wire_read(const void *message, size_t len, struct files_wish *ret);
/* Makes the answer to it in the same version. Returns its length. */
size_t files_wire_answer(const struct files_wish *w, int result, const char *why, struct files_answer *ret);

#endif
