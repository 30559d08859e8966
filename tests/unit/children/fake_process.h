/*
 * fake_process.h - a fork that fails, or only pretends that there is a process now: what that would have as its end of the socket is
 * the test's. Link with --wrap=fork, kill and sock_message_pair.
 */
#ifndef TESTS_CHILDREN_FAKE_PROCESS_H
#define TESTS_CHILDREN_FAKE_PROCESS_H

#include "fixture.h"

#define FAKE_PID 4711 /* of the first one; that of the next is one more */

extern bool fork_really;
extern int fork_error; /* a positive errno; 0: it does not fail */
extern int forks;      /* so often it was tried */
extern int its_end;    /* of the last one that is pretended; -1: none */
extern int pairs_left; /* of sockets; -1: as many as are wanted */
extern int kills;
extern pid_t last_killed;
extern int last_signal;

/* None of all that; its_end is closed. Before and after each test. */
void fake_process_reset(void);
/* The process closes its end. */
void fake_process_hangs_up(void);

#endif
