/*
 * chain.h - services of ours that lead to each other: has a connection come through this one already?
 *
 * The server of a service may be another port of ours, whose server is a third one. If one of them leads back to where
 * the chain has come through, each connection makes another, until there is no place left for any client. So a client
 * that comes from this host is looked for among the sockets that we ourselves call with: it is the local end of one of
 * them, or a stranger. If it is one of them, the row of that connection says at which service it came in, and who its
 * client is; and so on, up to a client that is not ours.
 *
 * Such a socket is found by its link, a hash of both of its ends. The row keeps it, and a word in the worker's table of
 * limits says which row it is (limits.h), for all workers to see. Only rows whose server may be a port of ours have
 * one: others cost nothing.
 *
 * The link is made right after connect(), and another worker may accept before that: so the sockets that are just
 * calling each port of ours are counted. A client that is not found while there are any is looked for again in the next
 * turn.
 */
#ifndef PROXY_CHAIN_H
#define PROXY_CHAIN_H

#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"

struct engine;
struct limits_recount;
struct session;

#define CHAIN_LEARNED 8

/* What an engine remembers, beside its rules. */
struct chain {
	struct addr learned[CHAIN_LEARNED]; /* addresses that this host has got since they were made */
	unsigned n_learned;
};

/* For a dial (arg: the session): a socket is about to call this address. */
void chain_calling(void *arg, const struct addr *to);
/* fd has called, -1: it could not. The session's row gets a link if that may be one of our ports. */
void chain_called(void *arg, int fd, const struct addr *to);
/* The row has a server, but perhaps was begun by a worker that has died, or by another one: makes its link, if it
 * needs one and has none. */
void chain_resume(struct engine *e, uint32_t row);
/* The row's server is not its server any more. */
void chain_forget(struct engine *e, uint32_t row);
/* The table of limits is made anew, and the row is in use. */
void chain_count(struct engine *e, uint32_t row, struct limits_recount *recount);

enum chain_way {
	CHAIN_OPEN,
	CHAIN_LOOP,   /* it has come through this service already, and is to be denied; the log is told, now and then */
	CHAIN_UNSURE, /* ask again in the next turn */
};
/* Whence has this client come? */
enum chain_way chain_look(struct session *s);

#endif
