/*
 * wire.h - what the supervisor tells a worker or the spawner, and what they answer: one message of
 * SOCK_SEQPACKET each, descriptors beside it. A supervisor of another version speaks to workers, too: the first
 * numbers and the layout never change.
 */
#ifndef IPC_WIRE_H
#define IPC_WIRE_H

#include <stdint.h>
#include "base/addr.h"
#include "ipc/crowd.h"
#include "ipc/targets.h"
#include "os/sock.h"
#include "takeover/table.h"

enum wire_type {
	/* to a worker; these numbers never change */
	WIRE_STOP = 1, /* end all connections and yourself. Also to the spawner: end all programs. */
	WIRE_ADOPT,    /* fd: pidfd of a new supervisor, which says this through the door. n 1: of one that waits
	                 * for the next (restart.c): let that one in */
	WIRE_LISTEN,   /* n fds, ids: serve these too. Of a greeting: these are served */
	WIRE_RETIRE,   /* another program accepts: end with the last connection */
	WIRE_GIVE,     /* fds: a link to another trio, its memfd; ids: how many connections, enum link_which */
	WIRE_TAKE,     /* fds: likewise */
	/* to a worker */
	WIRE_RULES = 16, /* fd: sealed memfd (ruleset.h); generation. Also to the spawner. */
	WIRE_UNLISTEN,   /* n ids: no longer */
	WIRE_CHANNEL,    /* fd: to the spawner. To the spawner: fd of trio `generation`. */
	WIRE_TARGETS,    /* servers have got addresses */
	WIRE_QUIT,       /* accept nothing more; WIRE_IDLE when the last connection has ended */
	WIRE_REEXEC,     /* fd: a program: the trio is to become it */
	WIRE_KILL,       /* n ids: pairs of a row's number and its serial: end these connections */
	WIRE_TCP_INFO,   /* write what TCP says of all rows into the table; generation: number of the request */
	WIRE_TAP,        /* fds: to wake the reader, its ring; generation: number of the tap; ids: struct tap_filter */
	WIRE_SAID,       /* fd: what the supervisor says of the world (world.h) is in this memfd from now on */
	WIRE_KEY,        /* through the door, answers its challenge: generation: the trio's key */
	WIRE_STDERR_IS,  /* fd: the trio's stderr from now on */
	WIRE_SYNC,       /* all before has been obeyed: say so, with the number that is `generation` */
	WIRE_STICK,      /* fd: memory of which server a client had (stick.h). Also of a greeting */
	WIRE_BLANK,      /* n fds, of these kinds: where blank sockets wait (os/blank.h) */
	/* from a worker */
	WIRE_IDLE = 32,
	WIRE_ADOPTED,          /* answers WIRE_ADOPT */
	WIRE_GIVEN,            /* n connections have gone over the link, which is closed; generation 1: nothing is left
	                 * that could have gone */
	WIRE_IMBALANCE,        /* a worker has more connections, or (n: 1) it has more to do, than others */
	WIRE_TCP_INFO_WRITTEN, /* answers WIRE_TCP_INFO, generation as there */
	/* from the spawner and the page: lines for the log (struct line_message) */
	WIRE_LINE,
	/* fd: the read end of a program's stderr, in case the spawner dies; label in `line` */
	WIRE_STDERR,
	/* from the page (pageserver.h), which is told WIRE_RULES */
	WIRE_COMMAND,       /* fd: a connection for a command of the admin socket; ids: struct addr of whose it is */
	WIRE_WANT_TCP_INFO, /* what TCP says is wanted */
	/* from a worker */
	WIRE_SYNCED, /* answers WIRE_SYNC, generation as there */
	/* from the checker, which is told WIRE_RULES, then WIRE_LISTEN: sockets that may refuse, and WIRE_SYNC: those were all;
	 * WIRE_QUIT: none any more, and they are closed as they are: a seat (seats.h) is another state now; in `line`: why */
	WIRE_HEALTH,
	/* likewise: what a server's name resolves to; n addrs */
	WIRE_NAMED,
	/* to the checker: n ids: seats: ask these now */
	WIRE_CHECK,
	/* from the checker: a part of the members of a line, n of them (crowd.h) */
	WIRE_CROWD,
	/* from the spawner; fd: a sealed memfd: a line `servers program` of the configuration, a newline, and the list that its program has
	 * printed */
	WIRE_LIST,
	/* from a worker: servers have been ejected (ejection.h), or may have been by the one before it */
	WIRE_EJECTED,
};

/* CHANNEL: not a trio's, but between checker and spawner; between supervisor and spawner, for notices (program/notice.h) */
#define WIRE_TRIO_CHECKER    UINT64_MAX
#define WIRE_TRIO_SUPERVISOR (UINT64_MAX - 1)

/* A process that hears several others takes so many messages of one of them at a time, which is more than a socket
 * holds, then looks at the others: one that does not stop is not heard alone. */
#define HEAR_AT_ONCE 1024

#define WIRE_LISTENERS (SOCK_MAX_FDS / 2)

/* The layout is the numbers'; what they mean for a message has a name. */
struct wire {
	uint32_t type;
	union {
		uint32_t n;      /* of ids; of connections (GIVEN) */
		uint32_t busy;   /* IMBALANCE */
		uint32_t leaves; /* ADOPT: a supervisor that waits for the next */
	};
	union {
		uint64_t generation; /* RULES */
		uint64_t trio;       /* CHANNEL, to the spawner: whose */
		uint64_t request;    /* TCP_INFO, TCP_INFO_WRITTEN */
		uint64_t number;     /* SYNC, SYNCED; TAP: of the tap */
		uint64_t key;        /* KEY */
		uint64_t whole;      /* GIVEN: nothing is left that could have gone */
		struct {
			uint32_t target;
			uint16_t more, forget; /* servers/dns.h */
		} named;                       /* NAMED */
		uint64_t crowd;                /* CROWD: crowd_id() */
		uint64_t end;                  /* KILL: enum end; 0: killed */
	};
	union {
		uint32_t ids[SOCK_MAX_FDS]; /* LISTEN, UNLISTEN */
		struct {
			uint32_t id[WIRE_LISTENERS], place[WIRE_LISTENERS]; /* 0: this host's ports (base/addr.h) */
		} listen; /* LISTEN of at most so many: without places they may be more, as other versions say it */
		struct {
			uint32_t quota; /* connections */
			uint32_t which; /* enum link_which */
		} give;                 /* GIVE, TAKE (n: 2) */
		struct {
			uint32_t row, serial;
		} kill[SOCK_MAX_FDS / 2];                  /* KILL, two ids each */
		struct blank_kind blanks[BLANK_KINDS_MAX]; /* BLANK */
		struct tap_filter filter;                  /* TAP */
		struct addr client;                        /* COMMAND */
		struct addr addrs[TARGET_ADDRS];           /* NAMED */
		struct crowd_part part;                    /* CROWD */
		struct {
			uint32_t seat;
			uint8_t state, was; /* enum health_state */
			struct addr at;     /* that has said so; AF_UNSPEC: none */
		} health;                   /* HEALTH */
	};
};
_Static_assert(sizeof(struct wire) == 16 + SOCK_MAX_FDS * sizeof(uint32_t), "other versions speak it");

/* LISTEN: the place of number i. */
static inline uint32_t wire_place(const struct wire *w, uint32_t i)
{
	return w->n <= WIRE_LISTENERS && i < w->n ? w->listen.place[i] : 0;
}

#endif
