/*
 * world.h - the few numbers that all processes of one tcpproxy share (one memfd).
 */
#ifndef PROXY_WORLD_H
#define PROXY_WORLD_H

#include <stdatomic.h>
#include <stdint.h>
#include "proxy/targets.h"
#include "takeover/table.h"

#define WORLD_MAGIC   0x7463707077303031ULL
#define WORLD_VERSION 2
#define WORLD_WORKERS 128
#define WORLD_TURNS   8192 /* pools that go round: indices of sections, modulo */

#define LOAD_FRESH_MS 2000

#define WORLD_LABELS  8192
#define LABEL_MAX     160
#define LABEL_NONE    UINT32_MAX

/* Where rules stand ("/etc/tcpproxy.conf:5"): append-only, written by the supervisor alone, so that a
 * number in a row says the same for ever. */
struct labels {
	atomic_uint n;
	char text[WORLD_LABELS][LABEL_MAX];
};

/* Whether clients may come: said by tcpproxyctl, kept over reloads. */
enum standing {
	STANDING_BY_FILE, /* as the configuration says */
	STANDING_ENABLED, /* also if the file says "disabled" */
	STANDING_DRAINING, /* no new connection; somebody waits for the last one to end */
	STANDING_DISABLED, /* no new connection */
};

/* The services there were since the start, each known by its first port; append-only, written by the supervisor. Their
 * numbers are those of the counters. */
struct known_service {
	uint32_t first_port;
	atomic_uint standing; /* enum standing */
	char ports[48];       /* as in the port line: "25", "8000-8010" */
};

struct services {
	atomic_uint n;
	struct known_service list[COUNTED_SERVICES];
};

/* What the supervisor has done. */
struct deeds {
	int64_t started_wall_us;
	atomic_llong reload_wall_us; /* the last one that was tried; 0: none */
	atomic_uint reload_failed;   /* it */
	atomic_ullong reloads, reloads_failed, upgrades, upgrades_failed;
	atomic_ullong lines_lost;    /* of the log */
};

struct world {
	uint64_t magic;
	uint32_t version, size;
	ELSEWHERE
	atomic_ullong next_id;          /* of access records */
	atomic_uint n_workers;
	atomic_uint log_level;          /* enum log_level: how much is said */
	atomic_uint live[WORLD_WORKERS];     /* connections of each worker */
	atomic_uint disarmed[WORLD_WORKERS]; /* it does not accept now: it has more than its share */
	struct load {                        /* of each worker */
		atomic_uint percent;         /* of a processor that it took ... */
		atomic_llong at_ms;          /* ... in the second before this (monotonic) */
	} load[WORLD_WORKERS];
	atomic_uint turns[WORLD_TURNS];      /* round-robin counters */
	struct targets targets;
	struct labels labels;
	struct services services;
	struct deeds deeds;
};

/* Returns the memfd, or -errno. */
int world_new(struct world **ret);
/* The same in private memory. NULL: no memory. */
struct world *world_new_private(void);

/* No client, or no new connection, is to come here. disabled: the file says so. */
static inline bool standing_is_out(const atomic_uint *standing, bool disabled)
{
	unsigned now = atomic_load_explicit(standing, memory_order_relaxed);

	return now == STANDING_BY_FILE ? disabled : now != STANDING_ENABLED;
}

/* Supervisor only: the number of this service, found or added; that of the last place if there is no room. */
uint32_t services_add(struct services *s, const struct service *service);
/* COUNTED_SERVICES: there is none. */
uint32_t services_find(const struct services *s, uint32_t first_port);
/* tcpproxyctl has said that no client is to come to it. */
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
