/*
 * known.h - what is known of a name that stands for many: the addresses of a host, or the records of a service. What its last answer
 * said, and for a while what it left out, so that name servers that show a part each time cost nothing.
 *
 * Nothing here asks anybody, or looks at a clock: an answer, what was known and the time make what is known from now on. The order
 * in an answer means nothing.
 */
#ifndef SERVERS_KNOWN_H
#define SERVERS_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "event/srv.h"

#define KNOWN_MAX 4096 /* items; the rest of an answer is left out */

/* An address, or a record: a host and its port. */
struct known_item {
	struct addr addr; /* without a port; AF_UNSPEC: a record, and: */
	char *host;       /* malloc()ed; NULL: an address */
	uint16_t port, priority, weight;
	int64_t gone_ms; /* an answer left it out then; 0: none has */
};

struct knowledge {
	struct known_item *list; /* in an order of their own: no two are the same */
	size_t n;
	int64_t none_ms; /* since then there is no such name; 0: there is, or nobody says */
};

/* How long what holds; the clock is the monotonic one. */
struct known_times {
	int64_t hold_ms; /* what an answer leaves out */
	int64_t keep_ms; /* all, when there is no such name any more */
};

/* An answer. Addresses of the family `unanswered` (AF_UNSPEC: none) are as good as ever if it has not got them. True: others are
 * known than before. */
bool known_addrs(struct knowledge *k, const struct addr *addrs, size_t n, uint16_t unanswered,
                 const struct known_times *t, int64_t now_ms);
bool known_records(struct knowledge *k, const struct srv_record *records, size_t n, const struct known_times *t,
                   int64_t now_ms);
/* There is no such name. True: for too long, and there was something known: it is forgotten. */
bool known_none(struct knowledge *k, const struct known_times *t, int64_t now_ms);
/* There has been no such name for too long. */
bool known_is_over(const struct knowledge *k, const struct known_times *t, int64_t now_ms);
/* What was left out for too long goes. True: something did. */
bool known_drop(struct knowledge *k, const struct known_times *t, int64_t now_ms);
/* When known_drop() is to be called next; INT64_MAX: not before another answer. */
int64_t known_next_drop(const struct knowledge *k, const struct known_times *t);
void known_release(struct knowledge *k); /* nothing is known */

#endif
