/*
 * table.h - the shared memory of a trio: what must outlive a worker.
 *
 * The row is the connection. Whatever a worker keeps privately about a connection is a cache of its
 * row, or is derived again from the kernel; there is no third kind. Hot rows hold what every event
 * touches, cold rows what is needed at the beginning and the end.
 *
 * One worker at a time writes; a successor starts only after its predecessor has let go of the
 * descriptor table, so compiler barriers order the stores of a row. Words that keepers, spawner or
 * supervisor read while the worker lives are atomic.
 */
#ifndef TAKEOVER_TABLE_H
#define TAKEOVER_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include "base/addr.h"
#include "base/const.h"
#include "base/ring.h"
#include "os/blank.h"
#include "program/question.h"
#include "stats/counters.h"

#define barrier() __asm__ __volatile__("" ::: "memory")

/* States of a row; docs/relay-states.md draws them. */
enum row_state {
	ROW_FREE,
	ROW_ACCEPTED,   /* a client, nothing decided */
	ROW_VERDICT,    /* an access program is asked */
	ROW_RESOLVE,    /* the server has no address yet */
	ROW_CONNECTING, /* one or two attempts under way */
	ROW_RELAY,
	ROW_STARTING,  /* a handler program is being started */
	ROW_HANDLER,   /* a program has the socket */
	ROW_RESETTING, /* one side is gone; the other is reset once what came before is acknowledged */
	ROW_LINGER,    /* denied; the banner is under way */
	ROW_CLOSING,   /* both streams ended; the last bytes are being acknowledged */
	ROW_ENDING,    /* it is over: its record is being written, its descriptors closed */
	ROW_ABORTING,  /* likewise, and both sides get a reset */
	ROW_GIVING,    /* on its way to another trio; the word of its move says how far (handover.h) */
	ROW_TAKING,    /* on its way from another trio, whose word says whether it is ours */
	/* All from here on have a client and nothing else. A worker that does not know one of them begins the connection anew. */
	ROW_PREAMBLE, /* a header of the PROXY protocol is looked for, which is still in its socket */
	ROW_QUEUED,   /* it waits in line until there is a place for it */
	ROW_HELD,     /* it waits in line until a server is usable */
	ROW_ROUTE,    /* of a version to come: a program is asked where to */
	ROW_SNIFFING, /* what the client says first tells its section; it is still in its socket */
};

/* SECOND: another attempt to connect, or a program's pidfd. BANNER: the pipe behind an access program. */
enum side { CLIENT = 0, SERVER = 1, SECOND = 2, BANNER = 3 };

/* One direction of a relay. up: client to server. */
enum flow_flag {
	FLOW_EOF = 1,     /* the source's FIN was read */
	FLOW_SHUT = 2,    /* it was passed on */
	FLOW_RESET = 4,   /* the source ended with a reset and everything before it was passed on */
	FLOW_DISCARD = 8, /* the destination is gone: what still comes is thrown away */
};

struct flow_row {
	uint64_t moved;                /* bytes taken from the source's stream and given to the destination */
	int32_t pipe_read, pipe_write; /* parked bytes, -1: none; both ends or none */
	uint8_t flags;                 /* enum flow_flag */
	uint8_t pipe_foreign;          /* a program's stdout, or a small one: close it afterwards, never pool it */
	uint16_t pad;
	uint32_t
	        link; /* flow[CLIENT]: the upper half, flow[SERVER]: the lower half of the row's (proxy/chain.h); 0: none */
};

enum row_flag {
	ROWFLAG_CLIENT_RESET = 1, /* an error of the client's socket was seen (it tells only once) */
	ROWFLAG_SERVER_RESET = 2,
	ROWFLAG_CLIENT_UNIX = 4, /* no TCP counters there */
	ROWFLAG_SERVER_UNIX = 8,
	ROWFLAG_KEEPALIVE_SET = 16, /* on the server's socket */
	ROWFLAG_GRANTED = 32,       /* the access program said yes */
	ROWFLAG_RECORDED = 64,      /* its access record is in the ring */
	ROWFLAG_COUNTED = 128,      /* its end is among the counters */
};

struct row {
	uint8_t state;            /* enum row_state */
	uint8_t end;              /* enum end: which side ended it, how; 0: neither yet */
	uint8_t flags;            /* enum row_flag */
	uint8_t why;              /* enum why: the reason of the end, if its name does not say it */
	uint32_t serial;          /* of this use of the row */
	int32_t fd[3];            /* enum side; -1: none */
	uint16_t service, server; /* whose counters are its own; UINT16_MAX: none yet */
	uint64_t cookie[3];       /* of each socket in fd[], 0: not asked; in fd[SECOND] 0: a pidfd */
	int64_t active_ms;        /* monotonic: when a byte last moved, or a stream ended */
	struct flow_row flow[2];  /* by source: flow[CLIENT] is up, flow[SERVER] is down */
	int64_t deadline_ms;      /* monotonic; 0: none. What it means is said by the state */
	uint64_t counted[2];      /* of flow[].moved: so much is among the counters */
} __attribute__((aligned(128)));

_Static_assert(sizeof(struct row) == 128, "a hot row is two cache lines");

/* Keys under which a connection is counted against limits; 0: not counted. */
enum limit_kind { LIMIT_GLOBAL, LIMIT_SERVICE, LIMIT_CLIENT, LIMIT_SERVER, LIMIT_KINDS };

#ifdef OTHER_LAYOUT /* for tests: as if another version had moved the fields */
#define ELSEWHERE uint64_t elsewhere[OTHER_LAYOUT];
#else
#define ELSEWHERE
#endif

/* A client that has to wait (proxy/waiting.h). Times are monotonic. */
struct row_wait {
	int64_t since_us; /* its ticket: it has come into the line then, and keeps its turn until it is connected; 0: it never had to */
	int64_t held_us; /* it has waited for a server that is usable since then, not for a place alone; 0: it never had to */
	int64_t began_us; /* it waits now, and this long ago would have begun had it never gone on between; 0: it does not */
	int64_t waited_us; /* in all, when it went on last */
	uint64_t key;      /* under which it is counted (proxy/limits.h), until it is connected; 0: it is not */
};

struct row_cold {
	ELSEWHERE
	uint64_t id; /* of the access record */
	int64_t accepted_wall_us;
	int64_t accepted_us;  /* monotonic */
	int64_t connected_us; /* monotonic; 0: never was */
	struct addr client, local, server;
	struct addr via;       /* the peer that has announced another client; AF_UNSPEC: it is the client */
	struct addr announced; /* where that client wanted to go, as was announced; AF_UNSPEC: nothing was */
	uint64_t limit[LIMIT_KINDS];
	uint32_t label;        /* where its rule stands */
	uint32_t target;       /* index in the shared targets, UINT32_MAX: none */
	uint32_t section;      /* in the configuration of `generation`; used until it is connected */
	uint32_t server_index; /* in that section's pool */
	uint64_t generation;
	int64_t timeout_ms;
	int64_t half_close_timeout_ms;
	uint32_t keepalive_ms;
	uint32_t question_count;
	uint64_t question;        /* serial of the question under way; 0: none */
	uint64_t base[2];         /* bytes of our own in front of the stream from this side: a banner */
	uint64_t ring_mark;       /* where the ring stood before the record was put into it */
	int64_t dial_deadline_ms; /* monotonic; 0: none */
	uint64_t tried;           /* servers of the pool that failed, by index (the first 64) */
	uint8_t last_failure;     /* enum end: how the last of them failed */
	uint8_t faults;           /* workers in a row that died of handling this row */
	uint8_t asked_before;     /* its question went to old_spawner_fd */
	uint8_t access_log;       /* enum access_log: which records are wanted */
	uint8_t last_why;         /* enum why: of that, if there is one */
	uint8_t dial_tried[2];    /* so many of the target's addresses: IPv4, IPv6 */
	int64_t access_interval_ms;
	struct row_wait wait;
	/* Headers of the PROXY protocol (proxy/preamble.h, proxy/header_out.h). What the client's socket has had before its stream is
	 * in flow[CLIENT].moved, as what TCP counts; and so it is subtracted from base[CLIENT]. */
	uint64_t uid_start; /* of the unique id that we have given it: the upper half, the lower is id; 0: none */
	uint32_t preamble;  /* bytes of the header that has come before its stream; 0: none */
	uint32_t greeting;  /* the server in fd[SERVER] is told a header with this checksum; 0: nothing yet */
	uint16_t n_tlvs;    /* bytes in trio_tlvs() */
	uint8_t met;        /* it is known whether a header comes before its stream: none is looked for any more */
	uint8_t spoken; /* enum sniff_word: what the client has said first, if its section depended on it; 0: not known */
	uint8_t n_sni, n_alpn; /* bytes in trio_said() */
	/* What is said before TLS begins (proxy/talking.h, proxy/agreeing.h). */
	uint32_t said;                 /* bytes that the client was told before the server's stream */
	uint32_t answered;             /* bytes that the server has said before its stream */
	uint32_t talk_take, talk_said; /* of the step under way: what `preamble` and `said` are when it is done */
	uint8_t talk_answer;           /* what is told in it; 0: none is under way */
	uint8_t talk_next;             /* `talk_step` when it is done */
	uint8_t talk_step;             /* how far it has come (base/starttls.h) */
	uint8_t n_tag;                 /* bytes at the beginning of trio_said() */
	uint64_t stick;                /* under which its server is remembered (ipc/stick.h); 0: it is not */
};

/* Who has called. */
static inline const struct addr *row_peer(const struct row_cold *cold)
{
	return cold->via.family == AF_UNSPEC ? &cold->client : &cold->via;
}

/* Bytes of the client's stream that were passed on; the row may say anything. */
static inline uint64_t row_up(const struct row *row, const struct row_cold *cold)
{
	return row->flow[CLIENT].moved > cold->preamble ? row->flow[CLIENT].moved - cold->preamble : 0;
}

/* Likewise of the server's. */
static inline uint64_t row_down(const struct row *row, const struct row_cold *cold)
{
	return row->flow[SERVER].moved > cold->answered ? row->flow[SERVER].moved - cold->answered : 0;
}

/* How long it has waited, in all; the row may say anything. */
int64_t row_waited_us(const struct row_cold *cold, int64_t now_us);

/* What a worker says of a line in which clients of its own wait: who has come first, and that it still looks. A table that is found by
 * the key, as that of the limits is. */
struct trio_line {
	atomic_ullong key;     /* 0: never used */
	atomic_llong since_us; /* the oldest ticket; 0: there is none */
	atomic_llong looked_ms;
	uint64_t pad;
};
#define TRIO_LINES 4096 /* a power of two */

/* Room for what most rows have nothing of: it takes memory only where it is used. */
struct row_note {
	uint8_t room[256];
};

/* What TCP says of both sides of a row: written by its worker when that is asked for, never by itself. */
struct row_tcp_info {
	uint32_t serial;  /* of the row that they are about */
	uint32_t known;   /* a bit for each side */
	int64_t final_ms; /* while row.active_ms is this, they do not change; 0: they may */
	uint32_t rtt_us[2], retransmits[2];
};

/* Which connections a tap sees: all that is said must fit. */
struct tap_filter {
	uint64_t id;          /* 0: any */
	uint16_t port;        /* on which it came in; 0: any */
	uint16_t client_port; /* 0: any */
	uint16_t via_port;    /* 0: any */
	uint32_t target;      /* index in the shared targets; UINT32_MAX: any */
	struct cidr client;   /* AF_UNSPEC: any */
	struct cidr via;      /* likewise: who has announced it */
	struct addr server;   /* AF_UNSPEC: any */
	uint32_t service;     /* its number in the world, and one; 0: any */
};

/* A tap: a socket that hangs up when the reader goes and wakes it, the memfd of a ring (base/tap.h) for what is
 * seen. Told to all workers, kept for their successors. */
struct trio_tap {
	uint64_t number; /* the supervisor's; 0: free */
	int32_t wake_fd, ring_fd;
	struct tap_filter filter;
};
#define TRIO_TAPS 8

#define TRIO_HEAD_SIZE   48
#define TRIO_MAGIC       0x7463707072303031ULL
#define TRIO_VERSION     14
#define TRIO_EVENTS      256
#define TRIO_LISTENERS   32768
#define TRIO_ROWS        349504     /* at most: a third of the descriptors that a process may have at most */
#define TRIO_LIMIT_SLOTS (1u << 22) /* at most */
#define TRIO_RING        (1u << 20)
#define TRIO_PEERS       128

/* The one piece of data that may be in a worker's memory: taken from a source, not yet given to the destination. It
 * is in the scratch, and only while `row` is set. Its last bytes are the ones that the counters of both sockets, and
 * the pipe, do not account for. The pipe is empty but for what an open step has put there. See proxy/flow_copy.c. */
struct copy_step {
	int32_t row;                   /* -1: none */
	uint8_t side;                  /* enum side: whose input it is */
	int32_t pipe_read, pipe_write; /* the spare, for what the destination does not take; both or none */
};

#define SCRATCH_SIZE (64 * 1024)

/* The same for many small messages at a time, each in a room of its own: see proxy/flow_batch.c. Rooms do not stand a
 * page apart, or they would all want the same few lines of the cache. */
struct batch_slot {
	int32_t row; /* -1: none */
	uint8_t side;
};
#define BATCH_SLOTS 64
#define BATCH_ROOM  (4096 + 64) /* bytes */

enum reexec {
	REEXEC_NONE,
	REEXEC_WANTED,
	REEXEC_COMMITTED,  /* the members are to become another program: see keeper.c */
	REEXEC_HEIR_WAITS, /* a worker that may do other things is to follow this one; its turn has not come */
	REEXEC_HEIR,       /* now: this one's end is not a death */
};

struct trio_listener {
	atomic_uint id; /* the supervisor's number; 0: free */
	int32_t fd;
	uint32_t place; /* scope of the local addresses of its clients; 0: this host's ports */
};

/* What the last deaths were, for the supervisor's log. */
struct trio_death {
	int32_t pid;
	int32_t status;  /* wait status, or -1 if it was no member's child */
	uint32_t member; /* 0, 1: keeper; 2: worker */
};
#define TRIO_DEATHS 16

enum { MEMBER_KEEPER0, MEMBER_KEEPER1, MEMBER_WORKER, MEMBERS };

/* A file, as the kernel knows it. What the supervisor says of the world (ipc/world.h) begins with a head of SAID_HEAD bytes and
 * the program that a trio may become: its worker may put any descriptor in the place of binary_fd, but has no way to make a
 * memfd that is sealed against writing. */
struct program_id {
	uint64_t dev, ino, size;
	int64_t modified_ns; /* not when it was changed: a link less is a change */
};
#define SAID_HEAD 16

/* What a trio is doing with another: see handover.h. */
enum link_role { LINK_NONE, LINK_GIVES, LINK_TAKES };
enum link_which {               /* connections are given away */
	          LINK_SETTLED, /* such as live for a while already */
	          LINK_BUSY,    /* half of those that also move bytes just now */
	          LINK_ALL,     /* all, until none is left */
};

struct trio {
	/* These never change their places, whatever the version: others read them (handover.h, retire.h). */
	uint64_t magic;
	uint32_t version, size; /* of this struct */
	uint32_t number;        /* "worker N" */
	uint32_t n_rows;
	uint64_t moves_offset;
	int32_t pid[MEMBERS]; /* stored by the kernel at clone */
	uint32_t head_pad;
	/* From here on each version is free. */
	ELSEWHERE
	uint32_t row_size, cold_size;
	uint32_t limit_slots; /* a power of two */
	uint32_t table_size;  /* descriptors that the common table may hold */

	atomic_int primary;  /* which keeper acts */
	atomic_uint starts;  /* workers started so far */
	atomic_int ready;    /* pid of the worker that serves */
	atomic_int stopping; /* the supervisor is ending us: replace no member */
	atomic_int leaving;  /* the supervisor waits for another one: let that in */
	atomic_int reexec;   /* enum reexec */
	atomic_uint reexecs, reexecs_failed;
	atomic_int
	        confined; /* the keepers descend from a worker: they may execute no program, and what they start ... */
	atomic_int reach; /* ... connects to no Unix sockets but those that one might: enum unix_reach (os/sandbox.h) */
	int32_t next_spare;                              /* pid of the new program's spare, until it takes its place */
	atomic_uint supervisor_serial;                   /* grows with each new supervisor */
	atomic_llong member_died_ms, supervisor_died_ms; /* the fuser rule; 0: not */
	struct trio_death deaths[TRIO_DEATHS];
	atomic_uint n_deaths;                        /* ever; the last TRIO_DEATHS are kept */
	int32_t member_pidfds[MEMBERS][MEMBERS + 1]; /* opened by each; closed by its successor */
	atomic_llong spun_ms; /* a worker has left an epoll instance that could not be mended; 0: none */
	uint64_t synced;      /* the number of the last WIRE_SYNC that was obeyed for this supervisor; 0: none */
	atomic_uint beats[MEMBERS - 1]; /* of a keeper: one more at each turn; stands still while it is stopped */
	atomic_uint changes[MEMBERS];   /* odd: the member opens or closes one of them just now */

	/* Descriptors of the common table, recorded by the worker; -1: none. What stands neither here nor in a row
	 * is closed by the next worker. */
	int32_t epfd;
	int32_t uring_fd;   /* the worker's own; its successor makes another */
	int32_t control_fd; /* to the supervisor */
	int32_t spawner_fd;
	int32_t old_spawner_fd; /* of another program's spawner, which still owes answers; -1: none */
	int32_t config_fd;      /* sealed memfd with the configuration */
	uint64_t config_generation;
	int32_t trio_fd, world_fd; /* the memfds of this and of ipc/world.h, for the next supervisor */
	int32_t said_fd;           /* likewise: what the supervisor says of the world */
	int32_t stick_fd;          /* likewise: which server a client had (ipc/stick.h); -1: none */
	struct blank_list blanks;  /* where sockets wait that only a process with a right can make (os/blank.h) */
	int32_t door_fd;           /* where it knocks */
	int32_t supervisor_fd;     /* pidfd */
	int32_t supervisor_pid;    /* whose that is, as the kernel says; 0: of one that only waits for the next */
	uint32_t is_private;       /* root was given up: others of our user are strangers (os/private.h) */
	uint64_t key;              /* a supervisor of our user knows it; it stands here and in supervisors alone */
	int32_t binary_fd;         /* the new program */
	int32_t peer_fds[TRIO_PEERS], peer_rearm_fds[TRIO_PEERS]; /* memfds and eventfds of all trios */
	uint32_t n_peers;
	int32_t link_fd;               /* to the other trio while connections move; -1: none */
	int32_t link_peer_fd;          /* its memfd */
	uint8_t link_role, link_which; /* enum link_role, enum link_which */
	uint32_t link_quota;           /* connections that are still to be given */
	uint32_t link_given;           /* that were */
	uint32_t uid;                  /* that we run as */
	int32_t wake_fd;               /* eventfd: the supervisor is woken to read the ring */
	int32_t rearm_fd;              /* eventfd: this worker looks again whether it may accept */
	atomic_uint reader_waits;      /* the supervisor sleeps: a write to wake_fd is wanted */
	atomic_uint quitting;          /* no new connections; the supervisor waits for live == 0 */
	atomic_uint retired;           /* likewise; another program has taken our place: end when nothing is left */
	int32_t working_on;            /* the row in hand, -1: none */
	struct copy_step step;
	struct batch_slot batch[BATCH_SLOTS];
	atomic_int fault; /* the worker dies of a fault of its own, not of a SIGKILL */

	struct trio_tap taps[TRIO_TAPS];
	atomic_uint live;                       /* rows in use */
	atomic_uint waiting;                    /* of these, in a line */
	uint32_t rows_used;                     /* rows from this one on were never in use, and are never looked at */
	uint32_t listeners_used;                /* likewise: what is never looked at takes no memory */
	struct epoll_event events[TRIO_EVENTS]; /* the journal of epoll_wait */
	struct trio_listener listeners[TRIO_LISTENERS];
};

/* Where the parts are is a constant: every trio has room for TRIO_ROWS, and what is not used takes no memory. So
 * readers of one that others write (supervisor, spawner, page, other trios) take no offset and no size from it, and a
 * number of a row below TRIO_ROWS leads nowhere else. */
extern const uint64_t trio_size;
/* Maps one, if it is as large as it must be for good, and of this layout. writable: else for reading alone. NULL: it is
 * not. */
struct trio *trio_map(int fd, bool writable);
void trio_unmap(const struct trio *t);
/* n_rows, rows_used, limit_slots and listeners_used, as far as they can be true. */
uint32_t trio_n_rows(const struct trio *t);
uint32_t trio_rows_used(const struct trio *t);
uint32_t trio_limit_slots(const struct trio *t);
uint32_t trio_listeners_used(const struct trio *t);

/* Makes the memory of a trio with n rows. Returns its memfd, or -errno. */
int trio_new(uint32_t number, uint32_t n_rows, struct trio **ret);
/* The same in private memory, for one process that serves alone. NULL: no memory. */
struct trio *trio_new_private(uint32_t n_rows);

/* As new: no member, no row, no descriptor. The ring and what it holds stay. For a trio of which no member
 * is left; number and rows are told, because it may say anything. */
void trio_reset(struct trio *t, uint32_t number, uint32_t n_rows);

/* A process that only reads holds the trio as const, and gets its parts so. Its memory may be mapped for reading
 * alone. */
struct row *trio_row(const struct trio *t, uint32_t i);
struct row_cold *trio_cold(const struct trio *t, uint32_t i);
struct question_slot *trio_slots(const struct trio *t);
#define trio_row(t, i)  CONST_AS(t, trio_row(t, i))
#define trio_cold(t, i) CONST_AS(t, trio_cold(t, i))
#define trio_slots(t)   CONST_AS(t, trio_slots(t))
struct ring *trio_ring(struct trio *t);
char *trio_scratch(struct trio *t);              /* SCRATCH_SIZE bytes */
char *trio_batch(struct trio *t, unsigned slot); /* BATCH_ROOM bytes */
/* Counts against limits: 64-bit words, see proxy/limits.h. t->limit_slots of them. */
atomic_ullong *trio_limits(const struct trio *t);
#define trio_limits(t) CONST_AS(t, trio_limits(t))

/* TRIO_LINES of them. */
struct trio_line *trio_lines(const struct trio *t);
#define trio_lines(t) CONST_AS(t, trio_lines(t))

struct row_tcp_info *trio_tcp_info(const struct trio *t, uint32_t i);
#define trio_tcp_info(t, i) CONST_AS(t, trio_tcp_info(t, i))
/* What came with a client's header and is kept: whole TLVs, TRIO_TLVS bytes of room. A reader bounds n_tlvs by that. */
#define TRIO_TLVS 4096
uint8_t *trio_tlvs(const struct trio *t, uint32_t i);
#define trio_tlvs(t, i) CONST_AS(t, trio_tlvs(t, i))
/* What a client has said in its hello. A reader bounds n_sni and n_alpn by their room. */
struct row_said {
	char sni[256];  /* the name of a server */
	char alpn[256]; /* protocols, commas between them */
};
struct row_said *trio_said(const struct trio *t, uint32_t i);
#define trio_said(t, i) CONST_AS(t, trio_said(t, i))
/* What its workers have counted, ever. */
struct counters *trio_counters(const struct trio *t);
#define trio_counters(t) CONST_AS(t, trio_counters(t))

/* So many of n rows may wait for what clients have to say first (proxy/early.h). */
static inline uint32_t early_most(uint32_t n_rows)
{
	return n_rows / 8 ? n_rows / 8 : 1;
}

/* Rows for a process that may open this many descriptors besides `fixed` ones. At least 4. */
uint32_t trio_rows_for(uint64_t nofile, uint32_t fixed);

/* The client's name, if the spawner looked it up; else "". ret: room for CLIENT_NAME_MAX. Returns its length. For
 * any process: nothing is stored in the trio, and what stands there may be without an end, or be changed meanwhile; any
 * byte may be in it but NUL. */
size_t ask_name(const struct trio *t, uint32_t row, const struct row_cold *cold, char *ret);

#endif
