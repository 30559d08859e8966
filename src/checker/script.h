/*
 * script.h - a check, step by step: what it says to a server, and what it wants to hear. Pure: bytes in, a verdict out; dialog.c
 * has the socket.
 *
 *   SEND        say these bytes
 *   EXPECT      these bytes are found in what has come since the last SEND ...
 *   BEGIN       ... stand at its beginning ...
 *   NOT         ... do not come, from here to the next SEND. As the last step: until the time of the check is over
 *   HEAR        a function reads what has come since the last SEND
 *   SAY         a function makes the bytes to say
 *   BYE         after the verdict: say these bytes, then hang up
 */
#ifndef CHECKER_SCRIPT_H
#define CHECKER_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"

#define SCRIPT_HEARD_MAX 16384 /* of what has come since the last SEND: more is not looked at */

enum verdict { VERDICT_MORE, VERDICT_YES, VERDICT_NO };

struct script_words;

/* What has come since the last SEND, for a function that reads it. */
struct hearing {
	const char *bytes;
	size_t n;
	bool last;       /* nothing more comes, or will be looked at */
	unsigned *stage; /* the function's own; 0 at first */
	struct buf *say; /* it may answer: what is appended is said, and what comes then is added to bytes */
	struct buf *why; /* of a no, in a few words */
};

/* VERDICT_MORE: another byte may decide it; the end of the connection is then a no. */
typedef enum verdict script_hear(const struct script_words *words, struct hearing *h);
/* Appends what is said. */
typedef void script_say(const struct script_words *words, struct buf *say);

enum script_kind { SCRIPT_SEND, SCRIPT_EXPECT, SCRIPT_BEGIN, SCRIPT_NOT, SCRIPT_HEAR, SCRIPT_SAY, SCRIPT_BYE };

struct script_step {
	enum script_kind kind;
	char *bytes; /* owned */
	size_t len;
	script_hear *hear;
	script_say *say;
};

/* What the kinds of checks are asked to do. NULL: not said. */
struct script_words {
	const char *user;  /* pgsql, mysql */
	const char *path;  /* http: "/" */
	const char *host;  /* http: the server's name; smtp: our own */
	uint16_t from, to; /* http: which status is a yes; 0: 200 to 399 */
};

struct script {
	struct script_step *steps;
	size_t n;
	struct script_words words; /* the texts are the caller's */
	bool tells;                /* a yes has words, too */
};

/* One more step; the bytes are copied. */
void script_add(struct script *s, enum script_kind kind, const void *bytes, size_t len);
void script_add_text(struct script *s, enum script_kind kind, const char *text);
void script_add_hear(struct script *s, script_hear *hear);
void script_add_say(struct script *s, script_say *say);
void script_release(struct script *s);

/* Where one run of it stands. */
struct script_run {
	const struct script *script;
	size_t at;        /* step */
	unsigned stage;   /* of the function that hears */
	struct buf heard; /* since the last SEND, at most SCRIPT_HEARD_MAX */
	bool too_much;    /* more than that came */
};

void script_begin(struct script_run *r, const struct script *script);
void script_end(struct script_run *r);
void script_hears(struct script_run *r, const void *bytes, size_t n);
/* Goes on as far as it can: appends to `say` what is to be said now, and comes to a verdict or wants to hear more. over: the server
 * has ended. why: of a no. */
enum verdict script_goes_on(struct script_run *r, bool over, struct buf *say, struct buf *why);
/* The time is over: a silence that was wanted is a yes. */
enum verdict script_times_out(struct script_run *r, struct buf *why);
/* Appends what is said after the verdict. */
void script_bye(const struct script_run *r, struct buf *say);

/* What came, as a part of a line: in quotes, its end left out. */
void script_quote(struct buf *why, const char *heard, size_t n);
/* For functions that hear: a no, because of this. `what` stands before the quoted text. */
enum verdict script_no(const struct hearing *h, const char *what, const char *heard, size_t n);

#endif
