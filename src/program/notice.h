/*
 * notice.h - what the supervisor asks of the spawner: run a program that is told that a server's state has changed; and how that is
 * answered. The question has all that the program is to find, so that it means the same whatever configuration holds by then.
 * Messages go over a SOCK_SEQPACKET socket between the two, one of these each. Either may die at any moment: what was not started
 * is asked again.
 */
#ifndef PROGRAM_NOTICE_H
#define PROGRAM_NOTICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

#define NOTICES_MAX     32         /* programs at a time */
#define NOTICE_SIZE_MAX (64 << 10) /* of a message; it fits into any socket's buffer */

struct notice_question {     /* supervisor -> spawner; behind it: label, arguments, environment, each ended by a NUL */
	uint64_t serial;     /* never 0 */
	uint64_t key;        /* of the server in its service: one program at a time */
	uint32_t timeout_ms; /* it is ended then */
	uint32_t n_argv, n_env;
};

enum notice_event {
	NOTICE_STARTED = 1,
	NOTICE_ENDED
}; /* ENDED also without STARTED: it could not be. Logged by the spawner */

struct notice_reply { /* spawner -> supervisor */
	uint64_t serial;
	uint32_t event;
};

/* The whole message, in *out. argv, env: NULL-terminated; their numbers are filled in. */
void notice_pack(struct notice_question q, const char *label, char *const *argv, char *const *env, struct buf *out);

/* A message, understood; the texts point into it. */
struct notice {
	struct notice_question question;
	const char *label;
	char **argv, **env; /* NULL-terminated; owned */
};
/* False: it is none, and nothing is owned. */
bool notice_unpack(const void *message, size_t len, struct notice *ret);
void notice_release(struct notice *n);

#endif
