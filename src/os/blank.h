/*
 * blank.h - blank sockets, as they are made and as they are taken: TCP, bound to nothing, which may be bound to addresses that are not
 * this machine's. Each kind has a queue: a pair of message sockets, in which
 * they wait, one a message. The kernel keeps them, in the queue of the reading end; whoever reads takes one. So there is nothing to ask
 * and nothing to answer, and the queue outlives whoever made it.
 */
#ifndef OS_BLANK_H
#define OS_BLANK_H

#include <stdint.h>

/* By family, and by where the server is: those for servers of this machine carry the mark that brings the answers back
 * (network/routes.h); with it one could not call another machine. */
enum blank_kind { BLANK_4_HERE, BLANK_4_AWAY, BLANK_6_HERE, BLANK_6_AWAY, BLANK_KINDS };

struct blank_queue {
	int read, write;
};

/* 0 or -errno. */
int blank_open(struct blank_queue *ret);

/* One that calls. mark: of those of this machine's servers. Needs CAP_NET_ADMIN. -errno. */
int blank_make(enum blank_kind kind, uint32_t mark);
/* Fills a queue until it takes no more. 0; -EPIPE: nobody is left who could read it; another -errno: one cannot be made, or sent. */
int blank_fill(int write_fd, enum blank_kind kind, uint32_t mark);

/* A descriptor; -EAGAIN: there is none just now; -EPIPE: none will come. */
int blank_take(int read_fd);

#endif
