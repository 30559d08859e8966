/*
 * fault.h - deaths to order, for tests.
 *
 * A build with -Dfaults=true has workers and keepers that end themselves with SIGKILL between any
 * two steps whose order matters to a successor. In every other build FAULT_POINT() is nothing.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

#ifdef FAULTS
/* From now on this process has so many fault points to live: at most N, short lives as often as
 * long ones, N being what the environment says in `variable`; for ever if it says nothing. Where it
 * dies is told in a datagram, "file:line pid", to the abstract address that TCPPROXY_FAULTS_TO names.
 */
void fault_arm(const char *variable);
bool fault_armed(void);
void fault_point(const char *file, int line);
#define FAULT_ARM(variable) fault_arm(variable)
#define FAULT_ARM_WHEN(condition, variable)        \
	do {                                       \
		if (!fault_armed() && (condition)) \
			fault_arm(variable);       \
	} while (0)
#define FAULT_POINT() fault_point(__FILE__, __LINE__)
/* TCPPROXY_ALONE in the environment: workers without keepers, to measure what a takeover costs. */
bool fault_alone(void);
#define FAULT_ALONE() fault_alone()
/* Does what a worker might that has been taken over: a process of it asks "status" at the Unix socket that
 * TCPPROXY_FAULT_ASKS names, and says on stderr what the answer was. */
void fault_ask(void);
#define FAULT_ASK() fault_ask()
/* A number that the environment says; 0: it does not. */
unsigned fault_setting(const char *name);
#else
#define FAULT_ARM(variable)                 ((void)0)
#define FAULT_ARM_WHEN(condition, variable) ((void)0)
#define FAULT_POINT()                       ((void)0)
#define FAULT_ALONE()                       false
#define FAULT_ASK()                         ((void)0)
#endif

#endif
