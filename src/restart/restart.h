/*
 * restart.h - TERM from systemd: an end, or a way to the next start (restart.c).
 */
#ifndef RESTART_RESTART_H
#define RESTART_RESTART_H

#include "restart/upgrade.h"

#define LIFELINE "lifeline" /* its name in the store */

struct restart_events {
	void (*stop)(void *arg); /* it is an end */
	void (*left)(void *arg); /* the trios are another process's: what only a supervisor has is given up */
};

struct restart {
	/* handed to it */
	struct children *children;
	enum phase *phase;
	struct upgrade *upgrade; /* its guard's lifeline; the trios become the program that a restart has started */
	struct sockets *listeners;
	int *signal_fd;
	const struct restart_events *events;
	void *arg;
	int inherited_fd; /* the other end of our predecessor's lifeline; -1: none */
	/* its own */
	struct watch barrier;
	struct timer timer;
};

/* Stops, if systemd keeps nothing for us; else goes, and the trios wait for what systemd does next. */
void restart_begin(struct restart *r);

/* In the next start. What the one before us has put into the store, or -1: there is none. First thing in main. */
int restart_inherit(void);
/* The trios are ours, or there were none: the caretaker need not wait for us any more. */
void restart_finish(struct restart *r);
/* Those that were found (workers.orphans) cannot be taken over, and the log shall say `why`: they are ended, connections and
 * all, as a stop would have done. False: there is no caretaker that could, and nothing has changed. */
bool restart_end_others(struct restart *r, const char *why);
/* They are of another layout, and will be retired: the caretaker goes on as their last reader. False: there is none. */
bool restart_leave_reader(struct restart *r);
/* This start has failed: the trios go on without a supervisor until one succeeds. Takes -1. */
void restart_failed(int lifeline_fd);

#endif
