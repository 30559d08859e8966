/*
 * fault.h - deaths to order, for tests.
 *
 * A build with -Dfaults=true has workers that end themselves with SIGKILL between any two steps whose
 * order matters to a successor. In every other build FAULT_POINT() is nothing.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#ifdef FAULTS
/* From now on this process dies at one in N of its fault points, N being what TCPPROXY_FAULTS says in the
 * environment; never if it says nothing. */
void fault_arm(void);
void fault_point(void);
#define FAULT_ARM()   fault_arm()
#define FAULT_POINT() fault_point()
#else
#define FAULT_ARM()   ((void)0)
#define FAULT_POINT() ((void)0)
#endif

#endif
