/*
 * talking.h - what a client says before its hello of TLS is heard and answered (`starttls`): by us, since the server is not known yet.
 *
 * A step of it is one thing that the client says, and what it is told. It is written into the row before a byte is taken or sent: how many
 * bytes the client's socket will have given, and got, by then. So a successor asks TCP how far it has come, and finishes it, once; done
 * again it is the same. What was taken has come before the client's stream, as a header of the PROXY protocol has (preamble.h); what was told
 * comes before the server's.
 */
#ifndef PROXY_TALKING_H
#define PROXY_TALKING_H

#include "base/record.h"
#include "base/starttls.h"
#include "proxy/early.h"
#include "proxy/step.h"

enum talking_outcome {
	TALKING_OVER,   /* the row says whether TLS follows */
	TALKING_CANCEL, /* of Postgres: `bytes` are for every server */
	TALKING_END,    /* `end` and `why` say how */
	TALKING_LOST,   /* how far a worker that died had come cannot be told */
};

struct talking {
	struct step_env *env;
	struct row *row;
	struct row_cold *cold;
	enum starttls protocol;
	const char *host;
	int64_t time_ms;
	struct early early;
	void (*done)(void *arg, enum talking_outcome outcome);
	void *arg;
	struct timer timer;
	uint8_t things; /* that it has said to this worker */
	const uint8_t *bytes;
	size_t n_bytes;
	enum end end;
	enum why why;
};

/* Begins, or goes on as the row says; the client has time_ms for each thing. now: something may be there already. */
void talking_start(struct talking *t, struct early_room *room, struct step_env *env, struct row *row,
                   struct row_cold *cold, enum starttls protocol, const char *host, int64_t time_ms, bool now,
                   void (*done)(void *arg, enum talking_outcome outcome), void *arg);
void talking_event(struct talking *t);
void talking_cancel(struct talking *t);

#endif
