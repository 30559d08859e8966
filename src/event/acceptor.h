/*
 * acceptor.h - a listening socket for few clients: to look in, or to take over. Each one is handed over.
 * When there are no descriptors or no memory for one, it waits in the queue, and we look again a little later instead
 * of spinning; the log says so once.
 *
 * (Clients of services come through proxy/listener.c.)
 */
#ifndef EVENT_ACCEPTOR_H
#define EVENT_ACCEPTOR_H

#include "event/loop.h"

#define ACCEPTOR_PAUSE_MS 100

struct acceptor {
	struct loop *loop;
	const char *what; /* for the log: "at the admin socket" */
	void (*accepted)(void *arg, int fd);
	void *arg;
	struct watch watch; /* watch.fd < 0: not started */
	struct timer timer; /* set: it pauses */
	bool held, told;
};

/* fd: listening, nonblocking; it stays the caller's. accepted() owns what it is given, which is nonblocking and
 * close-on-exec; it may hold or stop this acceptor. what: static. Returns 0 or -errno. */
int acceptor_start(struct acceptor *a, struct loop *l, int fd, const char *what, void (*accepted)(void *arg, int fd),
                   void *arg);
/* While it is held, new clients wait in the queue. */
void acceptor_hold(struct acceptor *a, bool hold);
/* Takes one that was never started, if its watch.fd is negative or all is zero. */
void acceptor_stop(struct acceptor *a);

#endif
