/*
 * claims.h - which tcpproxy uses a routing table, a mark, a priority: names of abstract sockets, which live as long as the process that
 * has them, and in its network namespace. Whoever asks there is told the supervisor's pid; one of ours that has lost its supervisor
 * gives them to who asks.
 */
#ifndef NETWORK_CLAIMS_H
#define NETWORK_CLAIMS_H

#include <stdbool.h>
#include "config/config.h"

#define CLAIMS 3

struct claims {
	int fds[CLAIMS]; /* of the table, the mark, the priority; -1: none */
};

/* false: *why says who has one of them, or what went wrong, and none is held. */
bool claims_take(struct claims *c, const struct routes *r, struct buf *why);
void claims_drop(struct claims *c);
/* Somebody asks at this one. supervisor: whose they are; 0: it has ended, and they are given away: true, drop them and end. */
bool claims_answer(int fd, int supervisor);
/* Does a process have this table? */
bool claims_table_is_used(uint32_t table);

#endif
