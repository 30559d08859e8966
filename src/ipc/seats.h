/*
 * seats.h - what checks know of servers, in memory that all processes share.
 *
 * A seat is a server together with what it is asked: two sections with the same server and the same checks share it, two with
 * other checks do not. Which seats there are is said by the supervisor, kept across reloads; what is known of each is written
 * by the checker, beside it, into words that mean something whatever they are. Whoever chooses a server computes the rest from
 * these words and the clock, so no death leaves half a decision behind.
 */
#ifndef IPC_SEATS_H
#define IPC_SEATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "config/config.h"

#define SEATS_MAX 16384
#define SEAT_NONE UINT32_MAX
#define SEAT_REST_MS \
	60000 /* one that no configuration has wanted for so long may become another, when there is no room */
#define HEALTH_WORDS    64
#define HEALTH_STALE_MS 30000 /* nobody has checked for so long: what is called down may be well again */

struct seat {
	atomic_ullong asks;   /* what is asked, of whom: never 0 of one that is counted */
	atomic_uint target;   /* index of the server */
	atomic_llong left_ms; /* monotonic: since then no configuration has it; 0: the present one does */
	atomic_ullong told;   /* what was told of it last (server_state.h) */
};

struct seats {
	atomic_uint n;
	struct seat list[SEATS_MAX];
};

enum health_state {
	HEALTH_UNKNOWN, /* not asked yet, or not all that is to be asked */
	HEALTH_UP,
	HEALTH_DOWN,
};

/* Written by the checker alone. */
struct health {
	atomic_ullong asks;                  /* the seat that this is about; another one's: nothing is known */
	atomic_ullong state;                 /* health_state and since when: health_read() */
	atomic_uint pulses[CHECK_LINES_MAX]; /* of each line: state, and answers in a row that say otherwise */
	atomic_ullong agent;                 /* what the server's agent has said: agent_read() */
	atomic_ullong answers[3];            /* ever: yes; no; none in time */
	atomic_uint changes[3];              /* ever: to each state */
	atomic_llong took_us;                /* the last answer */
	atomic_llong answered_ms;            /* monotonic; 0: never */
	atomic_ullong asked
	        [CHECK_LINES_MAX]; /* of each line: when its last check began, and how it was answered: health_answered() */
	atomic_uint sequence;      /* odd while the text is written */
	char words[HEALTH_WORDS]; /* of the last no, cut if need be; it may be torn, never the state */
	char room[12];
};
_Static_assert(sizeof(struct health) == 256, "a room of the world (world.h)");

/* A number for what these lines ask of this server, whose port is `port` unless they say otherwise. 0: nothing. */
uint64_t seat_asks(const struct section *section, const struct server *server, uint16_t port);
/* SEAT_NONE: there is none. Linear for one that is new. */
uint32_t seats_find(const struct seats *s, uint32_t target, uint64_t asks);
/* Supervisor only, for a new configuration: first that none is wanted, then each that is. SEAT_NONE: there is no room. */
void seats_leave_all(struct seats *s, int64_t now_ms);
uint32_t seats_add(struct seats *s, uint32_t target, uint64_t asks, int64_t now_ms);

struct health_view {
	enum health_state state;
	int64_t since_ms; /* monotonic */
};

/* Nothing is known of another seat's. */
struct health_view health_read(const struct health *h, uint64_t asks);

/* What a server's agent has said of it, and has not taken back. */
struct agent_view {
	bool down;       /* as a failed check */
	bool drain;      /* no new connections ... */
	bool maint;      /* ... likewise */
	bool in_percent; /* weight: of that of the file; else absolute */
	int32_t weight;  /* -1: nothing was said */
	int64_t max;     /* connections; 0: no limit; -1: nothing was said */
};
#define AGENT_SILENT     ((struct agent_view){.weight = -1, .max = -1})
#define AGENT_WEIGHT_MAX 65535

struct agent_view agent_read(const struct health *h, uint64_t asks);

/* Checker only. */
void agent_set(struct health *h, const struct agent_view *v);
void health_begin(struct health *h, uint64_t asks); /* keeps what is about the same seat */
void health_set(struct health *h, enum health_state state, int64_t now_ms);
void health_say(struct health *h, const char *words);
void health_asked(struct health *h, uint32_t line, int64_t began_ms, bool yes);
/* Has this line been answered in a check that began then (monotonic) or later? *yes: how. */
bool health_answered(const struct health *h, uint32_t line, int64_t since_ms, bool *yes);
/* Room for HEALTH_WORDS. */
void health_words(const struct health *h, char *ret);

const char *health_name(enum health_state state); /* "unknown", "up", "down" */

#endif
