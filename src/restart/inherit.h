/*
 * inherit.h - what one supervisor leaves to the next over an exec: descriptors that stay open, and variables that name them. Read and
 * written as older versions do.
 */
#ifndef RESTART_INHERIT_H
#define RESTART_INHERIT_H

#include <stdbool.h>
#include <stdint.h>
#include "ipc/admin_socket.h"
#include "network/network.h"

#define INHERIT_ROLLED_BACK (-2) /* in place of the guard: the new program has failed */
#define INHERIT_TRIAL_VARIABLE \
	"TCPPROXY_FILES" /* the descriptor at which a trial of a program asks for files (trial.c) */

/* Descriptors; -1: none. */
struct inheritance {
	bool upgraded;          /* a program before us has executed us; else only `trial` can be there */
	int files;              /* to the helper for files of root's */
	int guard;              /* to the old program that waits in case the new one fails */
	int lifeline;           /* restart.c */
	int spawner;            /* of the old program, to hear what its programs say */
	struct network network; /* what needs CAP_NET_ADMIN */
	uint64_t key;           /* by which the trios know their supervisor (ipc/rendezvous.h) */
	int client;             /* of the admin socket, waits for the end of the upgrade */
	struct admin_sockets admin;
	int trial;
};

/* Before the exec: they stay open, the variables are set. */
void inherit_put(const struct inheritance *i);
/* It has failed: all is as before. */
void inherit_take_back(const struct inheritance *i);
/* Once, at the beginning of a program; the list of admin sockets is the caller's. What a variable names and is not there, or is of
 * another kind, is none. */
void inherit_take(struct inheritance *ret);

#endif
