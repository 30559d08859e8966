/*
 * tcp_info.h - a worker writes what TCP says of its connections into the table, for processes that ask:
 * some rows in a turn, so that the connections themselves are not kept waiting; and of those on which
 * nothing has moved since the last look, what was said then.
 */
#ifndef WORKER_TCP_INFO_H
#define WORKER_TCP_INFO_H

#include "event/loop.h"
#include "takeover/table.h"

struct tcp_info_writer {
	struct loop *loop;
	struct trio *trio;
	void (*done)(void *arg, uint64_t request);
	void *arg;
	struct timer timer;
	uint64_t request;
	uint32_t next; /* row */
};

/* All rows from the first; one that is under way begins again, and answers the new request only. */
void tcp_info_write(struct tcp_info_writer *f, struct loop *loop, struct trio *trio, uint64_t request,
                    void (*done)(void *arg, uint64_t request), void *arg);

#endif
