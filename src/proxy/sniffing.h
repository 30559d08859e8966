/*
 * sniffing.h - what does the client say first? By that its section is found, if there are some behind sni and protocol.
 *
 * Nothing is taken from its socket: it is looked at where it is, as often as need be, and a successor looks again. What was found is
 * written into the row for those who tell of it; which section it is follows from the bytes. The row says until when it may be
 * silent.
 */
#ifndef PROXY_SNIFFING_H
#define PROXY_SNIFFING_H

#include "base/record.h"
#include "config/openings.h"
#include "proxy/early.h"
#include "proxy/step.h"

struct sniffing {
	struct step_env *env;
	struct row *row;
	struct row_cold *cold;
	const struct config *config;
	const struct section *section; /* whose client it is so far */
	struct early early;
	void (*done)(void *arg, const struct section *found);
	void *arg;
	struct timer timer;
	size_t need; /* so many bytes must be there before it is worth another look */
	bool raised; /* SO_RCVLOWAT was */
	/* if none was found */
	enum end end;
	enum why why;
};

/* Begins to look, or goes on if the row's state says that it was begun. now: something may be there already of which no event will tell.
 * done: found NULL: `end` and `why` say how it ends. */
void sniffing_start(struct sniffing *p, struct early_room *room, struct step_env *env, struct row *row,
                    struct row_cold *cold, const struct config *config, const struct section *section, bool now,
                    void (*done)(void *arg, const struct section *found), void *arg);
/* What was found once is found again, under other rules perhaps. NULL: nothing is. */
const struct section *sniffing_again(const struct row *row, const struct row_cold *cold, const struct config *config,
                                     const struct section *section);
void sniffing_event(struct sniffing *p, uint32_t events);
void sniffing_cancel(struct sniffing *p);

#endif
