/*
 * told.h - what each trio has been told of the configuration, beside what holds: the difference is sent when it can be,
 * in this order: the memory of those who stick, rules, listeners that are new, listeners that are gone. A worker that is stopped holds up nothing, and
 * goes by the latest when it goes on, however many reloads there were.
 *
 * Each such message ends with a number, which the worker says again when it has obeyed all before: so it is known which
 * worker goes by what.
 */
#ifndef CHILDREN_TOLD_H
#define CHILDREN_TOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct workers;
struct worker;
struct sockets;

struct told {
	uint64_t generation; /* of the rules */
	uint64_t stick;      /* which memory of those who stick (workers.h) */
	bool blank;          /* where blank sockets wait */
	uint32_t *ids;       /* of listeners, in order */
	size_t n;
	uint64_t number, obeyed; /* the last that it was told; that it has said again */
	bool late;               /* a told_wait() was answered that it has not */
};

/* It knows these rules and listeners (NULL: none). */
void told_begin(struct worker *w, uint64_t generation, const struct sockets *listeners);
/* Tells it what is new for it; also for when its outbox is empty again. */
void told_update(struct worker *w);
void told_update_all(struct workers *ws);
/* It has said so. */
void told_obeyed(struct worker *w, uint64_t number);
/* It has ended; the next one knows nothing. */
void told_end(struct worker *w);

/* done: once all that live go by what holds now, or after two seconds: missing: those that do not, "worker 1, worker 3"; NULL:
 * none. */
void told_wait(struct workers *ws, void (*done)(void *arg, const char *missing), void *arg);
/* A worker has ended: calls done where that was the last one waited for. */
void told_check(struct workers *ws);

#endif
