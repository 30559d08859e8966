/*
 * preamble.h - a client from there is to say first for whom it speaks: a header of the PROXY protocol.
 *
 * Nothing is taken from its socket before the header is whole: it is looked at where it is, as often as need be. Then what it says is
 * written into the row, then its length, and only then it is taken; so a successor finds either all of it in the socket, or in the
 * row how much is to be taken still. Not a byte behind it is touched.
 *
 * Who waits is among the early ones (early.h), of whom there can be so many only.
 */
#ifndef PROXY_PREAMBLE_H
#define PROXY_PREAMBLE_H

#include "base/proxy_header.h"
#include "base/record.h"
#include "config/config.h"
#include "proxy/early.h"
#include "proxy/step.h"

enum preamble_outcome {
	PREAMBLE_HEADER, /* the row says who the client is */
	PREAMBLE_NONE,   /* it begins without one, and may */
	PREAMBLE_PROBE,  /* it has gone without a word: it only wanted to know whether it can connect */
	PREAMBLE_BAD,    /* why says what is wrong */
	PREAMBLE_LOST,   /* how much of the header was taken by a worker that died cannot be told */
};

/* What this worker knows of all of them. */
struct preamble_room {
	struct early_room *early;
	struct {
		uint64_t who;
		int64_t at_ms;
	} told[256]; /* about whom the log was told, and when */
};

struct preamble {
	struct step_env *env;
	struct row *row;
	struct row_cold *cold;
	struct preamble_room *room;
	struct early early;
	void (*done)(void *arg, enum preamble_outcome outcome);
	void *arg;
	struct timer timer;
	int64_t time_ms;
	uint32_t need; /* so many bytes must be there before it is worth another look */
	bool optional;
	bool raised;       /* SO_RCVLOWAT was */
	uint8_t version;   /* of the header: 1, 2; 0: it is of the sender's own connection */
	bool nothing_more; /* behind it, when it was looked at */
	enum why why;
};

/* Begins to wait, until row->deadline_ms, or for proxy-timeout from now on if that is 0. The row's client is who has called. now:
 * something may be there already of which no event will tell. */
void preamble_start(struct preamble *p, struct preamble_room *room, struct step_env *env, struct row *row,
                    struct row_cold *cold, const struct section *section, bool now,
                    void (*done)(void *arg, enum preamble_outcome outcome), void *arg);
/* What a predecessor had begun is undone, if the header was not whole. true: it was, so that preamble_take_on() is to follow, whatever
 * the rules say. */
bool preamble_was_whole(struct row_cold *cold);
void preamble_take_on(struct preamble *p, struct preamble_room *room, struct step_env *env, struct row *row,
                      struct row_cold *cold, void (*done)(void *arg, enum preamble_outcome outcome), void *arg);
void preamble_event(struct preamble *p, uint32_t events);
void preamble_cancel(struct preamble *p);

#endif
