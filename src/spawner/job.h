/*
 * job.h - one question to the spawner, from its arrival to its answer, and on until nothing is left of its program.
 *
 * A job belongs to the spawner. Its channel may go first (then `channel` is NULL and nothing is
 * answered); its configuration is held only until the program was started.
 */
#ifndef SPAWNER_JOB_H
#define SPAWNER_JOB_H

#include <stdbool.h>
#include "program/question.h"
#include "program/run.h"
#include "spawner/generation.h"

struct channel;
struct spawner;

struct job {
	struct job *next, **link;
	struct spawner *spawner;
	struct channel *channel;
	struct job *queue_next;
	struct question question;
	struct question_announced *announced; /* NULL: nothing was; owned */
	struct generation *generation;
	const struct section *section; /* valid as long as generation */
	int fds[2];                    /* the program's 0 and 1, until it was started; -1: none */
	char *path;
	char *label; /* "handler /path for 10.0.0.7:1234 id=17" */
	int64_t timeout_ms;
	struct timer limit; /* of an access program */
	struct run run;
	struct answer answer;
	bool naming;  /* the client's name is being looked up */
	bool running; /* run has not told RUN_FINISHED */
	bool ended_by_us;
	bool answered;
	bool queued; /* the answer waits for the channel */
};

/* Takes over the descriptors. error: a reason (errno) why it cannot be served, 0: none. */
void job_begin(struct channel *ch, const struct question *q, const struct question_announced *announced, const int *fds,
               size_t n_fds, int error);
/* The program in the slot of this row was started by a spawner before this one: it is looked after like our own, but its
 * answer, if it still owes one, is not ours to give. NULL: it does not run any more. */
struct job *job_adopt(struct channel *ch, uint32_t row);
/* The asker does not want the program any more, or everything stops: TERM, later KILL. */
void job_end(struct job *j);
/* Its channel is gone. */
void job_orphan(struct job *j);
/* Frees it if nothing is left to do for it. */
void job_settle(struct job *j);
/* Frees it in any state. */
void job_free(struct job *j);

#endif
