/*
 * wire.h - what the supervisor tells a worker or the spawner, and what they answer: one message of
 * SOCK_SEQPACKET each, descriptors beside it. A supervisor of another version speaks to workers, too: the first
 * numbers and the layout never change.
 */
#ifndef DAEMON_WIRE_H
#define DAEMON_WIRE_H

#include <stdint.h>
#include "os/sock.h"

enum wire_type {
	/* to a worker; these numbers never change */
	WIRE_STOP = 1,  /* end all connections and yourself. Also to the spawner: end all programs. */
	WIRE_ADOPT,     /* fd: pidfd of a new supervisor, which says this through the door. n 1: of one that waits
	                 * for the next (leave.c): let that one in */
	WIRE_LISTEN,    /* n fds, ids: serve these too. Of a greeting: these are served */
	WIRE_RETIRE,    /* another program accepts: end with the last connection */
	WIRE_GIVE,      /* fds: a link to another trio, its memfd; ids: how many connections, enum link_which */
	WIRE_TAKE,      /* fds: likewise */
	/* to a worker */
	WIRE_RULES = 16, /* fd: sealed memfd (ruleset.h); generation. Also to the spawner. */
	WIRE_UNLISTEN,  /* n ids: no longer */
	WIRE_CHANNEL,   /* fd: to the spawner. To the spawner: fd of trio `generation`. */
	WIRE_TARGETS,   /* servers have got addresses */
	WIRE_QUIT,      /* accept nothing more; WIRE_IDLE when the last connection has ended */
	WIRE_RENEW,     /* fd: a program: the trio is to become it */
	WIRE_KILL,      /* n ids: pairs of a row's number and its serial: end these connections */
	WIRE_FACTS,     /* write what TCP says of all rows into the table; generation: number of the request */
	WIRE_TAP,       /* fds: to wake the reader, its ring; generation: number of the tap; ids: struct tap_filter */
	/* from a worker */
	WIRE_IDLE = 32,
	WIRE_ADOPTED,   /* answers WIRE_ADOPT */
	WIRE_GIVEN,     /* n connections have gone over the link, which is closed; generation 1: nothing is left
	                 * that could have gone */
	WIRE_LOPSIDED,  /* a worker has more connections, or (n: 1) it has more to do, than others */
	WIRE_FACTS_WRITTEN, /* answers WIRE_FACTS, generation as there */
	/* from the spawner and the page: lines for the log (struct line_message) */
	WIRE_LINE,
	/* fd: the read end of a program's stderr, in case the spawner dies; label in `line` */
	WIRE_STDERR,
	/* from the page (pageserver.h), which is told WIRE_RULES */
	WIRE_COMMAND,    /* fd: a connection for a command of the admin socket */
	WIRE_WANT_FACTS, /* somebody looks at what TCP says */
};

struct wire {
	uint32_t type;
	uint32_t n;
	uint64_t generation;
	uint32_t ids[SOCK_MAX_FDS];
};

#endif
