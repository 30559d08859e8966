/*
 * batch.h - small messages of many connections moved together, where the kernel allows it (io_uring).
 */
#ifndef PROXY_BATCH_H
#define PROXY_BATCH_H

#include <sys/epoll.h>

struct batch;
struct engine;
struct uring;

/* uring is the batch's from now on. */
struct batch *batch_new(struct engine *e, struct uring *uring);
/* The memory only, and nothing else: the ring is another process's. Takes NULL. */
void batch_forget(struct batch *b);
/* Before a turn's events are handled one by one: deals with those that can be dealt with together, and marks them as
 * handled (events 0). */
void batch_events(struct batch *b, struct epoll_event *events, int n);

#endif
