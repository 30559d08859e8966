/*
 * children.h - every process that the supervisor keeps. (Processes that follow one another as the supervisor: restart/.)
 */
#ifndef CHILDREN_CHILDREN_H
#define CHILDREN_CHILDREN_H

#include "children/balance.h"
#include "children/checker_child.h"
#include "children/dump.h"
#include "children/notices.h"
#include "children/page_child.h"
#include "children/spawner_child.h"
#include "children/workers.h"

struct children {
	struct workers workers;
	struct balance balance;
	struct spawner_child spawner;
	struct page_child page;
	struct checker_child checker;
	struct notices notices;
	struct dump dump;
	pid_t trial; /* a program that is tried (restart/trial.c), which others wait for; 0: none */
	struct timer reap_timer;
};

/* None of them is there yet. */
void children_none(struct children *c);
/* What the workers are handed is there, the loop is: the others can be started. */
void children_init(struct children *c);
/* Those that have ended, and those of the dead that fell to us. */
void children_reap(struct children *c);

#endif
