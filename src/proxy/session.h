/*
 * session.h - the life of a connection, in order. Read session.c from top to bottom; session_resume.c is how it goes on
 * after a worker's death or a reload, session_end.c how it ends.
 */
#ifndef PROXY_SESSION_H
#define PROXY_SESSION_H

#include "proxy/agreeing.h"
#include "proxy/dial.h"
#include "proxy/engine.h"
#include "proxy/handler.h"
#include "proxy/linger.h"
#include "proxy/preamble.h"
#include "proxy/relay.h"
#include "proxy/sniffing.h"
#include "proxy/talking.h"
#include "proxy/verdict.h"
#include "proxy/waiting.h"

/* What a connection needs while it is not being relayed. Most are for a moment only. */
struct steps {
	union {
		struct preamble preamble;
		struct sniffing sniffing;
		struct talking talking;
		struct verdict verdict;
		struct dial dial;
		struct agreeing agreeing;
		struct handler handler;
		struct lingering linger;
		struct waiting waiting;
		struct timer resolve; /* while it waits for a name */
	};
};

/* Private: a cache. What must outlive the worker stands in the row. */
struct session {
	struct engine *engine;
	struct row *row;
	struct row_cold *cold;
	uint32_t index;
	uint16_t seen;              /* events of the client that were told before there is a server */
	bool queued : 1;            /* on the ready list */
	bool stepping : 1;          /* a step other than the relay has begun */
	bool talking : 1;           /* in ROW_SNIFFING: what comes before TLS is heard */
	bool agreeing : 1;          /* in ROW_CONNECTING: it is connected, and asked for TLS */
	bool batched : 1;           /* one of its directions is in the batch */
	struct timer *record_timer; /* NULL: no records at intervals */
	struct timer *probation;    /* it has a server that has not proved itself yet (ejecting.h); NULL: it has not */
	union {
		struct relay relay;
		struct steps *steps; /* while stepping */
	};
};

/* A row of a predecessor: verified, put right, and gone on with in whatever state it was. May end before it
 * returns. */
void session_adopt(struct session *s);
/* The row is filled, nothing is decided. May end before it returns. */
void session_start(struct session *s, const struct section *section);
void session_event(struct session *s, enum side side, uint32_t events);
void session_run(struct session *s); /* it had asked to be called again */
/* kind: enum answer_kind; fd: what came with it, or -1 (owned from now on). */
void session_answer(struct session *s, uint32_t kind, int fd);
void session_spawner_lost(struct session *s);
void session_targets_changed(struct session *s);
/* The rules have changed, and this connection still needs some. */
void session_rules_changed(struct session *s);

/* How the two sides learn that it is over. */
enum manner { BY_CLOSE, BY_RESET };
/* The one door out. */
void session_end(struct session *s, enum end end, enum manner manner);
/* The same, with a reason for the record. */
void session_refuse(struct session *s, enum end end, enum why why, enum manner manner);

#endif
