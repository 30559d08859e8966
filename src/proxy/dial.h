/*
 * dial.h - one server: its addresses, at most two attempts at a time, the next after 250 ms or as soon as
 * one failed (RFC 8305, section 5), families in turn (section 4). Addresses of the name that come meanwhile are tried, too.
 */
#ifndef PROXY_DIAL_H
#define PROXY_DIAL_H

#include "proxy/as_client.h"
#include "proxy/step.h"

enum dial_outcome { DIAL_CONNECTED, DIAL_FAILED, DIAL_TIMEOUT };

struct dial {
	struct step_env *env;
	struct row *row;
	struct row_cold *cold;
	void (*done)(void *arg, enum dial_outcome outcome);
	void *arg;
	const struct target *target; /* its addresses */
	const char *unix_path;       /* instead; must stay valid while dialling */
	const struct addr *original; /* instead: where the client wanted to go, with its port; likewise */
	const struct addr *source;   /* AF_UNSPEC: none; likewise */
	const char *device;          /* the interface by which it calls; NULL: any; likewise */
	bool mptcp;                  /* it calls by that, if the kernel has it */
	uint8_t dscp;                /* and one; 0: none */
	const char *zone; /* interface of the address, which is looked up for each attempt; NULL: none; likewise */
	const char *source_zone; /* of the source */
	/* Instead: whose address is the source, where that can be (as_client.h); NULL: nobody's. And its port, if that is free; the mark
	 * of such sockets. */
	const struct addr *client;
	bool client_port;
	struct marks marks;
	/* A TCP socket is about to call this address, and has done so (fd -1: it could not); the latter again for the one
	 * that is connected, if another has called since. Both or none. */
	void (*calling)(void *arg, const struct addr *to);
	void (*called)(void *arg, int fd, const struct addr *to);
	uint16_t port;
	int64_t deadline_ms; /* 0: none */
	struct addr addr[2]; /* of the attempts in fd[SERVER], fd[SECOND] */
	enum side told;      /* whose call was told last; CLIENT: none was */
	uint32_t turn[2];    /* of the loop, in which each was begun: older events are of others */
	uint32_t seen;       /* events of the one that is connected */
	int64_t next_at_ms;
	int64_t patience_ms; /* until then more addresses are waited for; 0: nothing was waited for yet */
	int error;           /* of the last attempt that failed; positive errno */
	const char *missing; /* the interface that was not there for it; NULL: it failed for another reason */
	bool as_client;      /* the last one called from the client's address */
	bool source_refused; /* that could not be used for it */
	bool none_yet;       /* it could not begin: there was no socket for it just now */
	struct timer timer;
};

/* On DIAL_CONNECTED row->fd[SERVER] is the connected socket, registered with ROW_EVENTS | EPOLLOUT,
 * and cold->server its address. Otherwise no descriptor is left, cold->server is what was tried last, and d->error says
 * why. done() may be called before this returns. */
void dial_start(struct dial *d, struct step_env *env, struct row *row, struct row_cold *cold,
                void (*done)(void *arg, enum dial_outcome outcome), void *arg);
/* Another worker had begun: attempts that are under way go on, the next address is the one that it would
 * have tried. Fields that are set before dial_start() must be set. done() may be called at once. */
void dial_resume(struct dial *d, struct step_env *env, struct row *row, struct row_cold *cold,
                 void (*done)(void *arg, enum dial_outcome outcome), void *arg);
void dial_event(struct dial *d, enum side side, uint32_t events);
void dial_cancel(struct dial *d);

#endif
