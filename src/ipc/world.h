/*
 * world.h - what all processes of one tcpproxy share: what the supervisor says of rules, services and servers, and a few numbers
 * of the workers.
 */
#ifndef IPC_WORLD_H
#define IPC_WORLD_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/name_answer.h"
#include "ipc/ejection.h"
#include "ipc/kept.h"
#include "ipc/spots.h"
#include "ipc/seats.h"
#include "ipc/targets.h"
#include "program/programs.h"
#include "takeover/table.h"

#define WORLD_MAGIC   0x7463707077303031ULL
#define WORLD_VERSION 9
#define WORLD_WORKERS 128
#define WORLD_PAGE    4096
#define WORLD_PASSES  32768 /* members of all pools, in the order of the configuration, modulo */

#define LOAD_FRESH_MS 2000

#define WORLD_LABELS 8192
#define LABEL_MAX    160
#define LABEL_NONE   UINT32_MAX

/* Where rules stand ("/etc/tcpproxy.conf:5"): append-only, written by the supervisor alone, so that a
 * number in a row says the same for ever. */
struct labels {
	atomic_uint n;
	char text[WORLD_LABELS][LABEL_MAX];
};

/* Whether clients may come: said by tcpproxyctl, kept over reloads. */
enum admin_state {
	ADMIN_STATE_BY_FILE,  /* as the configuration says */
	ADMIN_STATE_ENABLED,  /* also if the file says "disabled" */
	ADMIN_STATE_DRAINING, /* no new connection; an administrator waits for the last one to end */
	ADMIN_STATE_DISABLED, /* no new connection */
};

/* The services there were since the start, each known by its first port and its name; append-only, written by the
 * supervisor. Their numbers are those of the counters. A section with a name of its own is a service, too. */
#define PORTS_SIZE 128

struct known_service {
	uint32_t number;          /* its configuration's (struct service) */
	atomic_uint admin_state;  /* enum admin_state */
	char ports[PORTS_SIZE];   /* as service_ports() says them: "25", "8000-8010", "unix:/run/x" */
	char called[CALLED_SIZE]; /* its name, if it has one */
	uint32_t within;          /* number, and one, of the service of which it is a section; 0: of none */
};

struct services {
	atomic_uint n;
	struct known_service list[COUNTED_SERVICES];
};

/* What the supervisor has done. */
struct totals {
	int64_t started_wall_us;
	uint64_t start;              /* of this start, by chance: the upper half of unique ids */
	atomic_llong reload_wall_us; /* the last one that was tried; 0: none */
	atomic_uint reload_failed;   /* it */
	atomic_ullong reloads, reloads_failed, upgrades, upgrades_failed;
	atomic_ullong lines_lost; /* of the log */
};

/* Two memfds, mapped one after the other. The first is what the supervisor says: each supervisor makes its own, of what
 * the one before has said, and no other process can ever write it (F_SEAL_FUTURE_WRITE). The second is written by
 * workers. */
struct world {
	uint64_t magic;
	uint32_t version, size;
	struct program_id program; /* that trios may become; all 0: none */
	ELSEWHERE
	atomic_uint n_workers;
	atomic_uint log_level; /* enum log_level: how much is said */
	struct targets targets;
	struct labels labels;
	struct services services;
	struct totals totals;
	struct seats seats;                         /* what checks are to find out */
	struct counted counted_before[TARGETS_MAX]; /* of the servers that an entry of targets was before */
	struct kept kept;                           /* servers that the file does not say */
	struct spots spots;                         /* what was changed of servers in one service only */

	_Alignas(WORLD_PAGE) atomic_ullong next_id; /* of access records */
	atomic_llong seldom[8]; /* when each of some warnings was said last (proxy/seldom.h; monotonic); 0: never */
	atomic_uint live[WORLD_WORKERS];     /* connections of each worker */
	atomic_uint disarmed[WORLD_WORKERS]; /* it does not accept now: it has more than its share, or hears no one */
	struct load {                        /* of each worker */
		atomic_uint percent;         /* of a processor that it took ... */
		atomic_llong at_ms;          /* ... in the second before this (monotonic) */
	} load[WORLD_WORKERS];
	atomic_ullong pass[WORLD_PASSES];          /* of each member of a pool (proxy/balance_round_robin.h) */
	struct experience experience[TARGETS_MAX]; /* of each target */
	struct {
		atomic_uint serial;   /* of the process that does the checks: one more than of the one before it */
		atomic_llong beat_ms; /* it lived then (monotonic); 0: there never was one */
		atomic_ullong late;   /* checks that began later than they should have */
		atomic_ullong names[NAME_ANSWERS]; /* questions for names, by enum name_answer */
	} checker;
	atomic_uchar
	        refusing[COUNTED_SERVICES]; /* a port of this service refuses clients now; written by the checker */
	struct programs_shared programs;    /* that run now, or have failed; written by spawners */
	_Alignas(WORLD_PAGE) struct health health[SEATS_MAX]; /* of each seat, written by the checker */
	struct ejection ejections[TARGETS_MAX];               /* of each target, where `eject` is */
	char end[WORLD_PAGE];
};

/* The two memfds. */
struct world_fds {
	int said, shared;
};

/* Makes both. 0 or -errno. */
int world_new(struct world **ret, struct world_fds *fds);
/* Maps them in a process that did not make them: what the supervisor says for reading alone. writable: what workers
 * write. NULL: they are not of this layout. */
struct world *world_map(const struct world_fds *fds, bool writable);
void world_unmap(struct world *w);
/* The next supervisor goes on with what the one before has said, checked, in a memfd of its own: fds->said is that from now on, the
 * old one is closed. 0 or -errno. */
int world_succeed(struct world *w, struct world_fds *fds);
/* In a process that is not a supervisor: what the supervisor says is what is in this memfd, and can only be read. 0 or
 * -errno. */
int world_listen(struct world *w, int said_fd);
/* In a process that only looks on: all of it can only be read. 0 or -errno. */
int world_only_read(struct world *w, const struct world_fds *fds);
/* The same in private memory. NULL: no memory. */
struct world *world_new_private(void);

/* No client, or no new connection, is to come here. disabled: the file says so. */
static inline bool admin_state_is_out(const atomic_uint *state, bool disabled)
{
	unsigned now = atomic_load_explicit(state, memory_order_relaxed);

	return now == ADMIN_STATE_BY_FILE ? disabled : now != ADMIN_STATE_ENABLED;
}

/* Supervisor only, before world_take(): if c has more servers than there is room for, those that no configuration has had for long leave
 * it, the first one first, unless named() says that a connection is still theirs. counted() adds up what was counted of one, by all. */
struct room_ops {
	void *arg;
	bool (*named)(void *arg, uint32_t target);
	void (*counted)(void *arg, uint32_t target, struct counted *sum);
};
void world_make_room(struct world *w, const struct config *c, const struct room_ops *ops);
/* Supervisor only: whatever c names is there from now on, as far as there is room. */
void world_take(struct world *w, const struct config *c);
/* The service that a connection of this section counts for. COUNTED_SERVICES: it is not there. */
uint32_t world_service(const struct world *w, const struct config *c, const struct section *section);
/* The target of a server of this section. TARGET_NONE: there is none. */
uint32_t world_target(const struct world *w, const struct config *c, const struct section *section,
                      const struct server *server);
/* That of the line of which it is a member (`each`, srv:). TARGET_NONE: it is of none. */
uint32_t world_line(const struct world *w, const struct config *c, const struct section *section,
                    const struct server *server);
/* The seat of a server of this section. SEAT_NONE: there is none, for it is not checked. */
uint32_t world_seat(const struct world *w, const struct config *c, const struct section *section,
                    const struct server *server);
/* Where it is checked, unless a check says otherwise; 0: at each port at which its clients come. */
uint16_t world_check_port(const struct config *c, const struct section *section, const struct server *server);
/* What is known of a server, from the best to the worst. */
enum known {
	KNOWN_UP, /* a check says so, or tcpproxyctl does (force); without checks: its last client could connect, or it was never tried */
	KNOWN_UNKNOWN, /* not checked yet */
	KNOWN_REFUSED, /* a client could not connect lately, which was soon clear ... */
	KNOWN_SILENT,  /* ... or took its time */
	KNOWN_EJECTED, /* it failed for too many clients in a row; where `eject` is, which takes the place of the two before */
	KNOWN_DOWN, /* a check says so, or tcpproxyctl does */
};
/* It is ejected, where this section has it. */
bool world_is_ejected(const struct world *w, const struct section *s, uint32_t target, int64_t now_ms);
/* A server of a section, found once, for who looks at it often. target TARGET_NONE: nothing is known of it; seat SEAT_NONE: it is not
 * checked. */
struct standing {
	uint32_t target, seat;
	uint64_t asks;
	bool disabled; /* by the file; likewise: */
	bool ejects;   /* there is `eject` */
	uint32_t weight;
	uint32_t line;           /* target of the line of which it is a member (`each`, srv:); TARGET_NONE: of none */
	uint32_t service, whole; /* of its section, and of the service whose section that is; COUNTED_SERVICES: none */
};
struct standing world_standing(const struct world *w, const struct config *c, const struct section *section,
                               const struct server *server);
/* Of a server wherever it stands, and of the line of which it is a member; that is not checked. */
struct standing world_standing_anywhere(const struct world *w, uint32_t target);
enum known world_known(const struct world *w, const struct standing *s, int64_t now_ms);
/* The same where this section has the server: by `eject`, if it says so. */
enum known world_known_in(const struct world *w, const struct section *section, const struct standing *s,
                          int64_t now_ms);
/* Something of which tcpproxyctl may say something, and what it says. */
struct spoken {
	const atomic_uint *admin_state;
	const struct changed *changed;
	uint32_t target, service; /* service COUNTED_SERVICES: in all */
};
#define SPOKEN_MAX 6
/* What may have been said that counts for it, the nearest first (ipc/holds.c). Returns how many. */
size_t world_spoken(const struct world *w, const struct standing *s, struct spoken *ret);
/* Of a server, wherever it stands. */
struct spoken world_spoken_of(const struct world *w, uint32_t target);
struct spoken spoken_of_spot(const struct spot *p);
/* What counts for this where it says nothing, likewise. */
size_t world_farther(const struct world *w, const struct spoken *of, struct spoken *ret);
/* What tcpproxyctl says of it, which beats what its agent says, which beats what the file says. */
enum admin_state world_admin_state(const struct world *w, const struct standing *s);
enum force world_force(const struct world *w, const struct standing *s);
uint32_t world_weight(const struct world *w, const struct standing *s);
bool world_has_weight(const struct world *w,
                      const struct standing *s); /* tcpproxyctl says another one than the file's */
/* Connections at a time; 0: no limit. file: what the file says. */
uint32_t world_max(const struct world *w, const struct standing *s, uint32_t file);
/* No new connection is to come to it, whether it is up or not: by its admin state, its agent, or because its weight is 0. */
bool world_is_out(const struct world *w, const struct standing *s);
/* Clients may come: admin state, weight, file and checks let them, and it has an address, as far as is known. */
bool world_standing_usable(const struct world *w, const struct standing *s, int64_t now_ms);
/* Nobody checks any more: what is known is no longer sure. */
bool world_checks_stale(const struct world *w, int64_t now_ms);
/* As another trio knows them, from whose program a name may be missing: the nearest there is. */
uint32_t services_search(const struct services *s, uint32_t service_number, const char *called);
uint32_t targets_search(const struct world *w, const char *key, const char *called, uint32_t service);

/* What it is called: its name, else its ports. */
const char *service_label(const struct known_service *s);
/* The service whose section this is. COUNTED_SERVICES: of none. */
static inline uint32_t service_whole(const struct services *s, uint32_t number)
{
	uint32_t within = number < COUNTED_SERVICES ? s->list[number].within : 0;

	return within && within <= COUNTED_SERVICES ? within - 1 : COUNTED_SERVICES;
}
/* tcpproxyctl has said that no client is to come to it, or to the service whose section it is. */
bool service_is_out(const struct services *s, uint32_t number);

/* Percent of a processor; a worker that has not measured for two seconds sleeps. */
unsigned world_load(const struct world *w, uint32_t worker, int64_t now_ms);

/* Supervisor only: the number of this text, found or added; LABEL_NONE if there is no room. */
uint32_t labels_add(struct labels *l, const char *text);
/* LABEL_NONE: there is none. */
uint32_t labels_find(const struct labels *l, const char *text);
/* NULL: no such label. */
const char *labels_text(const struct labels *l, uint32_t label);

#endif
