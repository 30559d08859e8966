/*
 * handover.h - what two trios have in common while connections move from one to the other.
 *
 * The giver sends rows and descriptors; the taker keeps them untouched until the giver's one store,
 * MOVED, which the taker reads in the giver's memory, makes them its own. docs/takeover.md has the
 * table of what each side does after a death. Each side writes only its own words. Messages only
 * carry descriptors and wake up: losing one is harmless.
 *
 * The two may be of different versions. So the words, where they stand (the first fields of struct
 * trio), and the messages never change, but for fields that are added to the end of an entry.
 */
#ifndef TAKEOVER_HANDOVER_H
#define TAKEOVER_HANDOVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "takeover/table.h"

#define HANDOVER_BATCH 16 /* connections in one message; one message is under way */
#define HANDOVER_FDS   6  /* of one connection, at most: two sockets, two pipes */

/* ---- the words: one for each row of a trio, in its shared memory ---- */

enum move_state {
	MOVE_NONE,
	MOVE_MOVING, /* offered; still the giver's, which may take it back at any time */
	MOVE_MOVED,  /* the taker's */
};

struct move {
	atomic_ullong given;  /* number of the move and enum move_state, see move_word() */
	atomic_ullong taken;  /* number of the move by which this row came, while that is not
	                         settled; 0: no such */
	uint32_t source;      /* the giver's row */
	uint32_t destination; /* the taker's row */
};

struct moves {
	atomic_ullong last;    /* number given to a move; never used again */
	atomic_uint receiving; /* descriptors may have come that are in no row yet */
	atomic_uint serial;    /* of the giver's last message */
	struct move rows[];
};

static inline uint64_t move_word(uint64_t number, enum move_state state)
{
	return number << 2 | (uint64_t)state;
}

struct moves *trio_moves(const struct trio *t);
#define trio_moves(t) CONST_AS(t, trio_moves(t))

/* Another trio's words, mapped to be read. */
struct peer {
	const struct moves *moves;
	uint32_t n_rows;
	void *map;
	size_t len;
};

/* memfd: of the trio. Returns 0 or -errno. */
int peer_map(struct peer *p, int memfd);
void peer_unmap(struct peer *p); /* takes one that is not mapped */
/* What the other said of this row; MOVE_NONE/0 for a row that it does not have. */
uint64_t peer_given(const struct peer *p, uint32_t row);
bool peer_has_taken(const struct peer *p, uint32_t row, uint32_t source, uint64_t number);

/* ---- the messages ---- */

enum handover_type {
	HANDOVER_ASK = 1, /* giver: do you read? */
	HANDOVER_OPEN,    /* taker: answers ASK and LOOK: I have looked at your words, and read on.
	                     Serial 0: I am new */
	HANDOVER_ROWS,    /* giver: n entries, and their descriptors; only after an answered ASK or
	                     LOOK */
	HANDOVER_TAKEN,   /* taker: answers ROWS: n entries (source, number, destination) are kept */
	HANDOVER_LOOK,    /* giver: look at my words */
	HANDOVER_END,     /* giver: no more */
};

struct handover_head {
	uint32_t type;
	uint32_t n;
	uint32_t entry_size;
	uint32_t serial; /* of the giver's message, or of the one that is answered */
};

struct handover_flow {
	uint64_t moved, counted, base;
	uint8_t flags; /* enum flow_flag */
	uint8_t foreign, parked;
	uint8_t pad[5];
};

#define HANDOVER_TLVS 390 /* ANNOUNCED_PICK */

/* A connection. What is not in it is asked of the kernel. */
struct handover_entry {
	uint64_t number;
	uint32_t source, destination;
	uint8_t end, flags; /* enum end, enum row_flag */
	uint8_t access_log; /* enum access_log */
	uint8_t pad[5];
	struct handover_flow flow[2];
	uint64_t cookie[2];
	int64_t active_ms, deadline_ms;
	uint64_t id;
	int64_t accepted_wall_us, accepted_us, connected_us;
	struct addr client, local, server;
	uint64_t limit[LIMIT_KINDS];
	int64_t timeout_ms, half_close_timeout_ms, keepalive_ms;
	uint32_t service_port;      /* the first of its service; 0: not known */
	uint32_t answered;          /* struct row_cold; of an older program's 0 */
	char rule[160];             /* where it stands; "": nowhere */
	char target[280];           /* the server as it was spelt; "": none */
	char name[CLIENT_NAME_MAX]; /* the client's */
	int64_t access_interval_ms;
	char service_called[72]; /* its service's name; "": none. Nothing of an older program's */
	char target_called[72];  /* its server's */
	int64_t waited_us;       /* for its place, or its server */
	/* Of headers of the PROXY protocol; of an older program's all 0. */
	struct addr via, announced;
	uint64_t uid_start;
	uint32_t preamble;
	uint16_t n_tlvs;
	uint8_t tlvs[HANDOVER_TLVS]; /* those that records show */
	uint64_t stick;              /* struct row_cold */
	/* What the client has said first; of an older program's all 0. */
	uint8_t spoken, n_sni, n_alpn;
	uint8_t pad3[5];
	char sni[256], alpn[256]; /* struct row_said */
};

struct handover_message {
	struct handover_head head;
	struct handover_entry entries[HANDOVER_BATCH];
};

/* What a row says, but for service, rule, target and name. The descriptors are written to fds (room
 * for HANDOVER_FDS); returns how many. */
size_t handover_pack(const struct trio *t, uint32_t row, struct handover_entry *ret, int *fds);
/* How many descriptors belong to this entry. */
size_t handover_fds(const struct handover_entry *e);
/* Fills a row that was taken (all but its state) and its cold part, but for the same. */
void handover_unpack(const struct handover_entry *e, const int *fds, struct row *row, struct row_cold *cold);

/* Sends a message with these entries. 0 or -errno. */
int handover_send(int link, enum handover_type type, uint32_t serial, struct handover_message *m, uint32_t n,
                  const int *fds, size_t n_fds);
/* Receives one; entries of another size are fitted to ours. fds: room for HANDOVER_BATCH *
 * HANDOVER_FDS; all are the caller's. Returns 1, 0 at the end, or -errno. -EPROTO: it was none; no
 * descriptor is left. */
int handover_recv(int link, struct handover_message *m, int *fds, size_t *n_fds);

#endif
