/*
 * spawner_child.h - the spawner, as the supervisor sees it: started, given channels to all trios, heard, replaced. It keeps copies of
 * the pipes by which its programs complain, so that they are heard when it is dead.
 */
#ifndef CHILDREN_SPAWNER_CHILD_H
#define CHILDREN_SPAWNER_CHILD_H

#include <sys/resource.h>
#include "children/child.h"
#include "children/stderrs.h"
#include "children/workers.h"

struct spawner_child {
	struct workers *workers;
	struct child child;
	struct watch old; /* of the program before us: it stays until its programs have ended */
	int old_fd;       /* -1: none */
	struct stderrs *stderrs;
	/* for the programs: as we were started */
	struct rlimit nofile;
	unsigned umask;
	/* A list program has printed a list: line is that of the configuration which names it. Both are the spawner's words. */
	void (*listed)(void *arg, const char *line, const char *list);
	void *listed_arg;
	void (*anew)(void *arg); /* all channels are to be made anew */
	void *arg;
};

/* The loop is there. */
void spawner_child_init(struct spawner_child *s);
/* Starts it and gives every worker a channel to it; where it runs, the channels are made anew. 0 or -errno. */
int spawner_child_start(struct spawner_child *s);
/* The same, or as soon as it can be. */
void spawner_child_start_late(struct spawner_child *s);
/* What the programs say that the old program's spawner has started goes on being logged. */
void spawner_child_hear_old(struct spawner_child *s);
/* Logs what it has said so far. False: that was its last word. */
bool spawner_child_hear(struct spawner_child *s);
/* A channel between the spawner and the checker. */
void spawner_child_give_checker(struct spawner_child *s, int fd);
/* A channel between the spawner and us (children/notices.h). */
void spawner_child_give_notices(struct spawner_child *s, int fd);
void spawner_child_tell_rules(struct spawner_child *s);
void spawner_child_died(struct spawner_child *s, int status);
/* One that has just died is started once more, to end its programs. */
void spawner_child_revive(struct spawner_child *s);
/* It ends its programs, and itself. */
void spawner_child_stop(struct spawner_child *s);
void spawner_child_kill(struct spawner_child *s);

#endif
