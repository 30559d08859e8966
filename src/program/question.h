/*
 * question.h - what a worker asks of the spawner, and how it is answered.
 *
 * A question is about one row: start the handler that serves this client, or ask the access program
 * about it. What must not be done twice has a slot in shared memory, one for each row of the trio's
 * table: the spawner starts the program with the kernel storing the pid straight into the slot
 * (clone3 with CLONE_PARENT_SETTID), so `pid` 0 means not started: may be asked again; set: never again.
 *
 * Messages go over a SOCK_SEQPACKET socket between the trio and the spawner, one struct each.
 */
#ifndef PROGRAM_QUESTION_H
#define PROGRAM_QUESTION_H

#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

#define CLIENT_NAME_MAX 256

struct question_slot {              /* shared memory; one per row */
	uint64_t serial;            /* of the question now in the slot; set by the asker before asking */
	int32_t pid;                /* stored by the kernel; zeroed by the asker */
	uint32_t answered;          /* enum answer_kind, stored last by the spawner; 0: not yet */
	int32_t status;             /* wait status, or errno for ANSWER_FAILED */
	int32_t starter;            /* pid of the spawner that starts the program; stored before */
	char name[CLIENT_NAME_MAX]; /* the client's name if it was looked up, else "" */
};

enum question_kind { ASK_HANDLER = 1, ASK_ACCESS = 2, ASK_KILL = 3 };

struct question { /* worker -> spawner */
	uint32_t kind;
	uint32_t row;
	uint64_t serial;
	uint64_t generation; /* of the configuration in which `section` and `server` are counted */
	uint32_t section;    /* index in config.sections */
	uint32_t server;     /* index in that section's servers: the handler; for ASK_ACCESS the
	                          * server chosen if known, else UINT32_MAX */
	struct addr local;   /* where the client was accepted */
	struct addr client;
	uint64_t id; /* of the connection, for the log */
	             /* ASK_HANDLER: one descriptor follows: the client's socket (stdin and stdout).
	 *              Two in inetd mode with pipes: stdin, stdout.
	 * ASK_ACCESS:  one: the write end of the pipe that becomes the program's stdout.
	 * ASK_KILL:    none: the program of row/serial is ended (TERM, 2 s later KILL). */
};

/* A program that does not know of the id asks without it: a spawner hears both, and that of the program before ours is
 * asked so, as it may know no other. */
#define QUESTION_WITHOUT_ID offsetof(struct question, id)

/* What a header of the PROXY protocol has said of the client. It stands behind a question with its id, as far as it has TLVs, and only
 * if there was one. */
#define QUESTION_TLVS 4096
struct question_announced {
	struct addr via, to; /* who has announced the client; where it wanted to go */
	uint32_t n_tlvs;
	uint8_t tlvs[QUESTION_TLVS];
};

/* With that. */
struct long_question {
	struct question question;
	struct question_announced announced;
};
#define QUESTION_LEAST_LONG offsetof(struct long_question, announced.tlvs)

enum answer_kind {
	ANSWER_STARTED = 1, /* handler runs; one descriptor follows: its pidfd */
	ANSWER_GRANTED = 2, /* access program: exit 0 */
	ANSWER_DENIED = 3,  /* access program: anything else, a time-out included */
	ANSWER_FAILED = 4,  /* could not be started; status is the errno. Logged by the spawner */
	ANSWER_STALE = 5,   /* generation unknown: ask again with the present configuration */
};

struct answer { /* spawner -> worker */
	uint32_t kind;
	uint32_t row;
	uint64_t serial;
	int32_t status;
	uint32_t pad;
};

#endif
