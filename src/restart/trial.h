/*
 * trial.h - the program at the path we were started from is tried before anything is risked for it.
 */
#ifndef RESTART_TRIAL_H
#define RESTART_TRIAL_H

#include "children/children.h"
#include "program/run.h"
#include "restart/trial_files.h"

/* What it reports; one of them, once. */
struct trial_events {
	void (*passed)(void *arg);
	void (*failed)(void *arg, const char *text); /* nothing has changed */
};

struct trial {
	/* handed to it */
	struct children *children;
	const char *binary;
	char *const *argv; /* of ours */
	const struct trial_events *events;
	void *arg;
	/* its own */
	struct run run;
	bool under_way, right;
	bool rehearsing; /* else --check */
	bool told;
	int out; /* what it printed */
	struct trial_files files;
	struct timer timer;
};

void trial_begin(struct trial *t, struct files *files);
/* Everything stops, or is left to others: one that is under way is ended. */
void trial_stop(struct trial *t);
/* In the new program, once it has understood its command line: if this is a trial, says so and ends. */
void trial_passed(void);

#endif
