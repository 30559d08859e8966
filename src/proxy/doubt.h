/*
 * doubt.h - a server did not answer a client's address: does it answer ours? Then its answers take another way than through this machine,
 * and the log says so. One is asked at a time, and each worker asks once in a while.
 */
#ifndef PROXY_DOUBT_H
#define PROXY_DOUBT_H

#include "base/addr.h"
#include "event/loop.h"

struct doubt {
	struct watch watch;
	struct timer timer;
	struct loop *loop;
	struct addr to;
	int64_t asked_ms; /* when one was asked last; 0: never */
};

void doubt_init(struct doubt *d, struct loop *loop);
/* A connection to it, as a client, was not answered in time. */
void doubt_ask(struct doubt *d, const struct addr *to);

#endif
