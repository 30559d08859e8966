/*
 * verdict.h - the access program is asked about a client. What it prints goes to the client as it
 * comes; the pipe it prints into is the parked pipe of server -> client, so what is left in it when it
 * grants comes before the server's first byte by itself.
 */
#ifndef PROXY_VERDICT_H
#define PROXY_VERDICT_H

#include "proxy/step.h"

enum verdict_outcome {
	VERDICT_GRANTED,
	VERDICT_DENIED,
	VERDICT_LOST, /* what it prints cannot be watched: the program is to be ended, too (verdict_cancel) */
};

struct verdict {
	struct step_env *env;
	struct row *row;
	struct row_cold *cold;
	void (*done)(void *arg, enum verdict_outcome outcome);
	void *arg;
	struct timer timer;
	int64_t deadline_ms;
	bool asked;
};

/* time_ms: the program's limit. */
void verdict_start(struct verdict *v, struct step_env *env, struct row *row, struct row_cold *cold, int64_t time_ms,
                   void (*done)(void *arg, enum verdict_outcome outcome), void *arg);
/* Another worker had asked, or was about to. */
void verdict_resume(struct verdict *v, struct step_env *env, struct row *row, struct row_cold *cold, int64_t time_ms,
                    void (*done)(void *arg, enum verdict_outcome outcome), void *arg);
/* The client can take more, or the program has printed something. */
void verdict_event(struct verdict *v);
/* kind: enum answer_kind. */
void verdict_answer(struct verdict *v, uint32_t kind);
/* The spawner is gone: a program that runs cannot answer any more; one that was not started is asked
 * for again. */
void verdict_spawner_lost(struct verdict *v);
void verdict_cancel(struct verdict *v);

#endif
