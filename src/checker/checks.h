/*
 * checks.h - many checks, each again and again at its own pace (pulse.h): begun spread over time, done by dialogs, their answers
 * reported. A server whose name has several addresses is asked at one after the other until one says yes.
 */
#ifndef CHECKER_CHECKS_H
#define CHECKER_CHECKS_H

#include "base/addr.h"
#include "checker/pulse.h"
#include "checker/script.h"
#include "event/loop.h"

#define CHECK_ADDRS 16
#define CHECK_FIRST_MS \
	2000 /* a server of which nothing is known is asked within this time, however seldom it is then */

struct check {
	uint64_t key;         /* what is asked, and of whom: the same over changes of the configuration */
	struct script script; /* taken over */
	struct pulse_rule rule;
	uint32_t timeout_ms;   /* of all addresses together */
	struct addr from;      /* AF_UNSPEC: whichever */
	const char *device;    /* by which it is asked; NULL: any */
	uint32_t mark;         /* of the packets, as of clients' connections; 0: none */
	uint8_t dscp;          /* theirs, and one; 0: as it is */
	uint32_t netns;        /* a number for the network namespace; 0: ours */
	const char *unix_path; /* instead of addresses; NULL: those */
	bool program;          /* instead of the script: ops.run() */
	struct pulse *pulse;   /* what is known of it, written after each answer; stays while the check does */
	void *owner;           /* for the callbacks */
};

struct check_answer {
	bool yes;
	bool changed;          /* the state has */
	bool heard;            /* the server has said something */
	const char *words;     /* of a no */
	const struct addr *at; /* the address that has said so, the last one asked; NULL: none */
	int64_t began_ms;      /* monotonic */
	int64_t took_us;
};

struct checks_ops {
	void *arg;
	const struct blank_list *blanks; /* where sockets with a mark wait; NULL: nowhere */
	/* Its addresses now, with ports, at most CHECK_ADDRS; 0: it has none, which is a no. */
	size_t (*addresses)(void *arg, void *owner, struct addr *ret);
	void (*answered)(void *arg, void *owner, const struct check_answer *answer);
	/* A program is to ask this address (NULL: there is none), within this time: checks_program_answered() follows. 0: it
	 * cannot be asked now; else a number by which the answer is known. */
	uint64_t (*run)(void *arg, void *owner, const struct addr *at, uint32_t timeout_ms);
};

struct checks; /* opaque */

struct checks *checks_new(struct loop *loop, const struct checks_ops *ops, unsigned at_once);
void checks_free(struct checks *c);
/* From now on these n, no two of one key, and no others. Those that there are go on at their pace. */
void checks_take(struct checks *c, struct check *list, size_t n);
/* A client has had no luck there: it is asked at once, if it is not being asked, but no more often than while it is changing. */
void checks_hurry(struct checks *c, uint64_t key);
enum check_program { CHECK_PROGRAM_NO, CHECK_PROGRAM_YES, CHECK_PROGRAM_UNDONE /* it is asked again */ };
/* words: why it is a no. */
void checks_program_answered(struct checks *c, uint64_t number, enum check_program answer, const char *words);
/* It is asked at once; if it is being asked, once more after that. */
void checks_now(struct checks *c, uint64_t key);
/* So many could not begin in time, because as many were under way as may be; ever. */
uint64_t checks_late(const struct checks *c);

#endif
