/*
 * agreeing.h - a server that is connected is asked to go on with TLS, in the words of its protocol (`starttls`), as its client has asked
 * us. What it answers is taken; what it is told comes before its client's stream. Should we die meanwhile, the next worker calls it
 * again: of the client nothing was taken.
 */
#ifndef PROXY_AGREEING_H
#define PROXY_AGREEING_H

#include "base/starttls.h"
#include "proxy/step.h"

enum agreeing_outcome {
	AGREEING_DONE,
	AGREEING_REFUSED, /* it will not, or is no such server */
	AGREEING_GONE,    /* it has closed, or reset */
	AGREEING_TIMEOUT,
};

struct agreeing {
	struct step_env *env;
	struct row *row;
	struct row_cold *cold;
	enum starttls protocol;
	const char *host;
	void (*done)(void *arg, enum agreeing_outcome outcome);
	void *arg;
	struct timer timer;
	uint8_t step;
};

/* deadline_ms: monotonic; 0: none. */
void agreeing_start(struct agreeing *a, struct step_env *env, struct row *row, struct row_cold *cold,
                    enum starttls protocol, const char *host, int64_t deadline_ms,
                    void (*done)(void *arg, enum agreeing_outcome outcome), void *arg);
void agreeing_event(struct agreeing *a);
void agreeing_cancel(struct agreeing *a);

#endif
