/*
 * ejection.h - servers that failed for clients so many times in a row that they are left alone for a while, in memory that all
 * processes share.
 *
 * Workers write it, and a checker that finds such a server well. The state is one word, so that of two workers at the same moment one
 * ejects and the other finds it done; failures in a row are counted under the number of ejections there were before, so that none is
 * counted for the next one too. A death at any instruction leaves nothing half done.
 */
#ifndef IPC_EJECTION_H
#define IPC_EJECTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "config/config.h"
#include "ipc/targets.h"

struct ejection {
	atomic_ullong state; /* until when, by what, and how many there were ever: ejection_read() */
	atomic_ullong row;   /* failures in a row, and the number of ejections before them */
	struct {
		atomic_llong began_ms;
		atomic_uint length_ms; /* as it was meant */
	} term[2];                     /* of the last two, by their numbers */
};

struct ejection_view {
	uint32_t number; /* how many there were ever, the present one included; it counts on from 0 some day */
	bool early;      /* the last one: the server ended connections without a byte; else it could not be connected */
	int64_t began_ms, until_ms; /* of the last one (monotonic); 0: there was none */
	uint32_t length_ms;         /* as it was meant: a check may have ended it */
};

struct ejection_view ejection_read(const struct ejection *e);

/* Until when it is, or was; 0: it never was. */
int64_t ejection_until_ms(const struct ejection *e);

bool ejection_is_on(const struct ejection *e, int64_t now_ms);

/* A failure. true: as many in a row as are allowed, or more: ejection_begin() may follow; if it does not, each further failure says so
 * again. Those of a server that is ejected are not counted. */
bool ejection_failed(struct ejection *e, uint32_t after, int64_t now_ms);
/* It is ejected from now on, as *ret says. early: since it has ended connections without a byte. false: another one has done it. */
struct ejected {
	uint64_t was, is; /* words of ejection.c */
};
bool ejection_begin(struct ejection *e, const struct eject_rule *rule, bool early, int64_t now_ms, struct ejected *ret);
/* There were too many at the same moment: it is as if it had not been. */
void ejection_withdraw(struct ejection *e, const struct ejected *what);
/* No failure: the row has ended. */
void ejection_worked(struct ejection *e);
/* A check that began then (monotonic) says that it is well. heard: the server has sent a byte. Ends an ejection that began before; one
 * for early ends only if heard. */
void ejection_well(struct ejection *e, int64_t check_began_ms, bool heard, int64_t now_ms);
/* Why it was ejected the last time, as a part of a sentence. found: what clients have found of it. */
void ejection_say_why(const struct ejection *e, const struct experience *found, struct buf *out);
/* A target that is new, of all: one that is only given a name, or another one, is the same server for those whom it has failed. */
void ejection_inherit(struct ejection *list, const struct targets *t, uint32_t i);

#endif
