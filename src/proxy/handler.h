/*
 * handler.h - a program has the client's socket itself, as inetd would have given it. We keep a copy
 * for the record, and the program's pidfd: when it exits we close without a shutdown, so a child that
 * it left behind keeps the client.
 */
#ifndef PROXY_HANDLER_H
#define PROXY_HANDLER_H

#include "proxy/step.h"

enum handler_outcome {
	HANDLER_EXITED,
	HANDLER_FAILED, /* could not be started; the spawner has logged why */
	HANDLER_IDLE,   /* its time limit of silence */
	HANDLER_LOST,   /* its end could not be watched, so it was ended at once */
};

struct handler {
	struct step_env *env;
	struct row *row;
	struct row_cold *cold;
	void (*done)(void *arg, enum handler_outcome outcome);
	void *arg;
	struct timer timer;
	int64_t deadline_ms;
	uint64_t bytes; /* at the last look */
	bool asked;
};

void handler_start(struct handler *h, struct step_env *env, struct row *row, struct row_cold *cold,
                   void (*done)(void *arg, enum handler_outcome outcome), void *arg);
/* Another worker had begun: it is being started, or runs. */
void handler_resume(struct handler *h, struct step_env *env, struct row *row, struct row_cold *cold,
                    void (*done)(void *arg, enum handler_outcome outcome), void *arg);
/* The pidfd is readable. */
void handler_event(struct handler *h);
/* kind: enum answer_kind; pidfd: of ANSWER_STARTED, owned from now on, else -1. */
void handler_answer(struct handler *h, uint32_t kind, int pidfd);
void handler_spawner_lost(struct handler *h);
/* The connection is ended: so is the program. */
void handler_cancel(struct handler *h);
/* Brings the bytes of a row in ROW_HANDLER up to date: the kernel counts them. */
void handler_count(struct row *row);

#endif
