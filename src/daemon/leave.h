/*
 * leave.h - TERM from systemd: an end, or a way to the next start (leave.c).
 */
#ifndef DAEMON_LEAVE_H
#define DAEMON_LEAVE_H

#include <stdbool.h>

struct supervisor;

#define LIFELINE "lifeline" /* its name in the store */

/* Stops, if systemd keeps nothing for us; else goes, and the trios wait for what systemd does next. */
void supervisor_leave(struct supervisor *s);

/* In the next start. What the one before us has put into the store, or -1: there is none. First thing in main. */
int leave_inherit(void);
/* The trios are ours, or there were none: nobody has to wait for us any more. */
void leave_over(struct supervisor *s);
/* Those that were found (s->orphans) cannot be taken over, and the log shall say `why`: they are ended, connections and
 * all, as a stop would have done. false: there is nobody who could, and nothing has changed. */
bool leave_end_others(struct supervisor *s, const char *why);
/* They are of another layout, and will be retired: the caretaker goes on as their last reader. false: there is none. */
bool leave_reader(struct supervisor *s);
/* This start has failed: the trios go on without a supervisor until one succeeds. Takes -1. */
void leave_failed(int lifeline_fd);

#endif
