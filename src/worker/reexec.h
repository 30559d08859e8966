/*
 * reexec.h - a trio becomes another program: the keeper's first steps in it.
 */
#ifndef WORKER_REEXEC_H
#define WORKER_REEXEC_H

/* The variable that names the memfd of the trio; set by the keeper that executed us. */
#define REEXEC_VARIABLE "TCPPROXY_TRIO"

/* Checks that the memory of the trio is as we know it, and goes on as its primary keeper. Never returns; a trio of
 * another version is left to the old program (exit 1). */
_Noreturn void reexec_continue(const char *trio_fd);

#endif
