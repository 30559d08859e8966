/*
 * blank.h - blank sockets, as they are made and as they are taken: TCP, bound to nothing, of kinds that a
 * process needs a right to make. Each kind has a queue: a pair of message sockets, in which
 * they wait, one a message. The kernel keeps them, in the queue of the reading end; whoever reads takes one. So there is nothing to ask
 * and nothing to answer, and the queue outlives whoever made it.
 */
#ifndef OS_BLANK_H
#define OS_BLANK_H

#include <stdint.h>

/* What one is like; of each that the configuration needs there is a queue. For servers of this machine the mark has the bits that bring the
 * answers back (network/routes.h); with them one could not call another machine. */
struct blank_kind {
	uint32_t family;      /* AF_INET, AF_INET6 */
	uint32_t transparent; /* it may be bound to addresses that are not this machine's: 0, 1 */
	uint32_t mark;        /* of its packets; 0: none */
	uint32_t netns;       /* a number for its network namespace; 0: ours */
};

#define BLANK_KINDS_MAX 24

/* Kinds, each with the reading end of its queue. */
struct blank_list {
	uint32_t n;
	struct blank_kind kinds[BLANK_KINDS_MAX];
	int32_t fds[BLANK_KINDS_MAX];
};

/* The place of a kind, or -1. The list may say anything. */
int blank_find(const struct blank_list *l, const struct blank_kind *kind);

struct blank_queue {
	int read, write;
};

/* 0 or -errno. */
int blank_open(struct blank_queue *ret);

/* One that calls; in the network namespace in which this process is. Needs CAP_NET_ADMIN. -errno. */
int blank_make(const struct blank_kind *kind);
/* Fills a queue until it takes no more. 0; -EPIPE: nobody is left who could read it; another -errno: one cannot be made, or sent. */
int blank_fill(int write_fd, const struct blank_kind *kind);
/* Instead of a socket: its namespace is not there. Likewise. */
int blank_fill_absent(int write_fd);

/* A descriptor; -EAGAIN: there is none just now; -EPIPE: none will come; -ENONET: its namespace is not there. What has waited for long is
 * passed over where there are namespaces: its own may be another one by now. */
int blank_take(int read_fd, const struct blank_kind *kind);
/* The same, but nothing that was made before this time (monotonic). */
int blank_take_new(int read_fd, int64_t since_ms);

#endif
