/*
 * job.h - inside the spawner: one question from its arrival to its answer, and on until nothing is
 * left of its program; the channel it came through; the spawner that holds them.
 *
 * A job belongs to the spawner. Its channel may go first (then `channel` is NULL and nothing is
 * answered); its configuration is held only until the program was started.
 */
#ifndef PROGRAM_JOB_H
#define PROGRAM_JOB_H

#include <stdbool.h>
#include "program/run.h"
#include "program/spawner.h"

struct generation {
	struct generation *next; /* older */
	uint64_t number;
	struct config *config;
	unsigned refs;
};

struct job {
	struct job *next, **link;
	struct spawner *spawner;
	struct channel *channel;
	struct job *queue_next;
	struct question question;
	struct generation *generation;
	const struct section *section; /* valid as long as generation */
	int fds[2];                    /* the program's 0 and 1, until it was started; -1: none */
	char *path;
	char *label; /* "handler /path for 10.0.0.7:1234" */
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

struct channel {
	struct channel *next, **link;
	struct spawner *spawner;
	int fd;
	struct watch watch;
	struct timer retry;
	struct question_slot *slots;
	uint32_t n;
	struct job **by_row; /* the latest job of each row */
	struct job *queue, **queue_end;
	uint32_t n_queued;
	bool blocked; /* the last send found no room */
	void (*gone)(void *arg);
	void *gone_arg;
};

struct spawner {
	struct spawner_setup setup;
	int null_fd;
	struct generation *generations; /* the newest first */
	struct channel *channels;
	struct job *jobs;
	unsigned running;
	bool stopping;
	struct timer stop_timer;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* ---- job.c ---- */

/* Takes over the descriptors. error: a reason (errno) why it cannot be served, 0: none. */
void job_begin(struct channel *ch, const struct question *q, const int *fds, size_t n_fds,
               int error);
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

/* ---- channel.c ---- */

/* Sends j->answer now or as soon as there is room. */
void channel_answer(struct channel *ch, struct job *j);
void channel_close(struct channel *ch);

/* ---- spawner.c ---- */

struct generation *spawner_generation(struct spawner *s,
                                      uint64_t number); /* a reference, or NULL */
void generation_put(struct generation *g);              /* takes NULL */
/* After s->running went down. */
void spawner_check_stopped(struct spawner *s);

#endif
