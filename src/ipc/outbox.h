/*
 * outbox.h - messages to another process of ours, which may be slow or stopped: the sender never waits. What the socket
 * does not take now is queued, and sent in order when there is room. For the supervisor and for workers alike.
 *
 * A message of which only the latest counts takes the place of the one of its type that still waits. The queue is
 * bounded; but a sender with much to say that must not be lost (rules, listeners) says it when the queue is empty, as
 * it is then: told.h.
 */
#ifndef IPC_OUTBOX_H
#define IPC_OUTBOX_H

#include <stddef.h>
#include "ipc/wire.h"
#include "event/loop.h"

#define OUTBOX_MAX 256 /* messages that wait */

struct outbox {
	struct loop *loop;
	struct watch *watch;        /* of the socket, whose events are EPOLLIN, and EPOLLOUT while something waits */
	void (*emptied)(void *arg); /* all that waited has been sent; may send more. NULL: not wanted */
	void *arg;
	struct outbox_message *first, **last;
	struct timer timer; /* for what no event tells of */
	size_t n;
};

void outbox_init(struct outbox *o, struct loop *l, struct watch *w, void (*emptied)(void *arg), void *arg);
/* The descriptors stay the caller's. 0, also if it has to wait; -EPIPE and its kin: the other end is gone, or there is no
 * socket; -ENOBUFS: too much waits already, and this is lost. */
int outbox_send(struct outbox *o, const struct wire *w, const int *fds, size_t n_fds);
/* For the function of the watch, when events has EPOLLOUT. */
void outbox_flush(struct outbox *o);
bool outbox_is_empty(const struct outbox *o);
/* The socket is gone, and with it what waits. Takes one that is all zero. */
void outbox_clear(struct outbox *o);

#endif
