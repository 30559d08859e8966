/*
 * check_question.h - what the checker asks of the spawner: run the program of a check; and how it is answered. Messages go over a
 * SOCK_SEQPACKET socket between the two, one struct each. Either may die at any moment: what is not answered is asked again.
 */
#ifndef PROGRAM_CHECK_QUESTION_H
#define PROGRAM_CHECK_QUESTION_H

#include <stdint.h>
#include "base/addr.h"

#define CHECK_PROGRAMS_MAX 32 /* at a time */
#define CHECK_LINE_MAX     256

struct check_question {           /* checker -> spawner */
	uint64_t serial;          /* of the question, never 0 */
	uint64_t generation;      /* of the configuration in which the rest is counted */
	uint32_t section, server; /* index in config.sections, in its servers */
	uint32_t line;            /* index in the section's checks */
	uint32_t timeout_ms;
	uint32_t state; /* enum health_state */
	uint16_t port;  /* that is checked */
	struct addr at; /* AF_UNSPEC: it has none */
};

enum check_kind {
	CHECK_RAN = 1, /* to its end, or until its time was over */
	CHECK_NOT_RUN, /* it could not be started; status: errno. Logged by the spawner */
	CHECK_STALE,   /* generation unknown: ask again */
};

struct check_reply { /* spawner -> checker */
	uint64_t serial;
	uint32_t kind;
	int32_t status;            /* wait status; -1: its time was over */
	char line[CHECK_LINE_MAX]; /* the first of its stdout, ended by a NUL */
};

#endif
