/*
 * engine.h - the data plane of one worker: everything that its connections share.
 *
 * A worker process has one, and so has a process that serves a single connection for inetd. It is
 * told its configuration, its listeners and its channel to the spawner from outside, and knows neither
 * where they come from nor where records go.
 */
#ifndef PROXY_ENGINE_H
#define PROXY_ENGINE_H

#include "ipc/accesslog.h"
#include "ipc/stick.h"
#include "proxy/as_client.h"
#include "proxy/chain.h"
#include "proxy/doubt.h"
#include "proxy/limits.h"
#include "proxy/relay.h"
#include "proxy/moving.h"
#include "proxy/preamble.h"
#include "proxy/ruleset.h"
#include "proxy/step.h"
#include "proxy/tapping.h"
#include "proxy/waiting.h"

struct batch;
struct session;
struct uring;

struct listener {
	uint32_t id; /* the supervisor's */
	int fd;
	struct addr local; /* of all that it accepts, unless it is a wildcard */
	uint32_t turn;     /* of the loop, when clients came last */
	bool armed;
	bool mptcp;   /* its clients may speak it */
	bool hung_up; /* it did not listen when it was looked at last: its port refuses */
};

struct engine_setup {
	struct trio *trio;
	struct world *world;
	struct trio *const *trios; /* of all workers, for limits */
	uint32_t n_trios;
	const int *rearm_fds;       /* eventfd of each worker; NULL: it is alone */
	struct epoll_event *events; /* NULL: private */
	int n_events;
	bool inherited;   /* serves a socket that others hold, too */
	bool all_records; /* also those that the configuration does not want: the caller looks at how it ended */
	/* A record or a line for the log (types as in accesslog.h). */
	void (*message)(void *arg, enum message_type type, const void *data, size_t len);
	void *arg;
};

struct engine {
	struct loop loop;
	struct step_env env;
	struct relay_owner relay_owner;
	struct world *world;
	struct stick stick; /* which server a client had; all 0: nothing sticks */
	struct tapping tapping;
	struct limits limits;
	struct chain chain;
	struct own_addresses own;
	struct doubt doubt;
	struct waiting_room waiting;
	struct early_room early;
	struct preamble_room preambles;
	struct ruleset *rules;    /* NULL: none yet */
	struct session *sessions; /* one for each row; private, untouched until used */
	uint32_t *free_rows;      /* stack, of rows that were used before */
	uint32_t n_stacked;
	uint32_t *ready, *ready_now; /* rows with more to do */
	uint32_t n_ready;
	uint32_t n_resolving; /* sessions that wait for a name */
	uint32_t serial;
	uint32_t adopted;           /* rows below this number are taken up; trio->rows_used: all */
	struct listener *listeners; /* TRIO_LISTENERS */
	uint32_t n_listeners;       /* slots in use are below this */
	uint32_t n_hung_up;         /* of them */
	bool mptcp;                 /* some listener has clients that may speak it */
	bool has_places;            /* some listener is at no port of the configuration (base/addr.h) */
	bool want_accept;           /* listeners are to be armed (not quitting, not full) */
	bool paused;                /* out of descriptors */
	bool paused_told;           /* the log knows */
	bool deaf;                  /* a listener cannot be watched now, as the log knows */
	int64_t load_looked_ms;     /* load.c: when we measured last, and the time of the processor then */
	int64_t load_cpu_us;
	struct timer rearm_timer;
	struct watch rearm_watch;
	struct watch channel;     /* to the spawner */
	struct watch old_channel; /* to another one, which still owes answers; fd -1: none */
	struct timer old_timer;
	struct moving moving;
	void (*idle)(void *arg); /* called when the last connection has ended; may be NULL */
	void *idle_arg;
	/* called when one worker has clearly more connections than others, or (busy) this one too much to do; may
	 * be NULL */
	void (*imbalance)(void *arg, bool busy);
	void (*ejected)(void *arg); /* called when a server has been ejected (ejecting.h); may be NULL */
	struct batch *batch;        /* NULL: each message takes calls of its own */
	struct engine_setup setup;
};

/* Connections; places for more. */
static inline uint32_t engine_live(const struct engine *e)
{
	return e->env.trio->rows_used - e->n_stacked;
}
static inline uint32_t engine_free_rows(const struct engine *e)
{
	return e->n_stacked + e->env.trio->n_rows - e->env.trio->rows_used;
}

/* epfd -1: a new one. Returns 0 or -errno. */
int engine_init(struct engine *e, const struct engine_setup *setup, int epfd);

/* From now on small messages of many connections are moved together. */
void engine_batches(struct engine *e, struct uring *uring);
/* Frees the memory, and nothing else: descriptors are another process's now. Takes one that was never made. */
void engine_forget(struct engine *e);
/* Takes over the rules; the old ones are freed. Connections that are not established yet go on by the
 * new ones. */
void engine_set_rules(struct engine *e, struct ruleset *rules);
/* After engine_init(), rules and channel, before listeners: takes up every connection that a predecessor left
 * in the trio's table. What was being ended is ended at once; the others are verified and put right when their
 * first event comes, or in the background. */
void engine_take_over(struct engine *e);
/* The channel to the spawner (trio->spawner_fd is set to it), or -1: it is dead. What was asked of another that lives
 * (an upgrade) is still answered by it. answers.c. */
void engine_set_channel(struct engine *e, int fd);
/* A predecessor's channels. */
void engine_take_channels(struct engine *e);
/* Servers have got addresses: sessions that wait look again. */
void engine_targets_changed(struct engine *e);

/* Listeners: listener.c. Accepting begins with engine_accept(e, true). slot: below TRIO_LISTENERS, the same for a
 * successor. */
void engine_accept(struct engine *e, bool want);
int engine_add_listener(struct engine *e, uint32_t slot, uint32_t id, uint32_t place, int fd);
/* Accepts what is still in its queue, forgets it in the trio, then closes it. */
void engine_drop_listener(struct engine *e, uint32_t id);
/* Arms or disarms all, as the share of this worker says. */
void engine_balance(struct engine *e);

/* Once a turn: how much of a processor does this worker take? Measured once a second; idle, never (load.c). */
void engine_look_at_load(struct engine *e);

/* Serves one that the worker before us had accepted at this place (base/addr.h) and written down nowhere. false: it is gone already; the
 * descriptor is the caller's then. */
bool engine_serve_accepted(struct engine *e, int fd, uint32_t place);
/* Serves a connection. local: where it was accepted; section NULL: found by local. The descriptor is
 * the engine's from now on. false: no row was free, or nothing is configured there (closed). */
bool engine_serve(struct engine *e, int fd, const struct addr *local, const struct addr *client,
                  const struct section *section);
/* Ends all connections: with a reset, `end` as the reason. */
void engine_end_all(struct engine *e, enum end end);
/* The descriptor of a token of a row or a listener; -1: it is of neither, or of one that is gone. */
int engine_watched(struct engine *e, uint64_t token);
/* Its events came again and again, nothing came of them (event/spin.h), and it is not watched any more: a connection is
 * ended. Says so. */
void engine_end_spin(struct engine *e, uint64_t token, uint32_t events);
/* Ends one, if it is still the same; not while it is on its way to or from another worker: say it again. */
void engine_end_one(struct engine *e, uint32_t row, uint32_t serial, enum end end);

/* Inside proxy/. rows.c: the row is to run in the next turn; */
void engine_again(struct engine *e, uint32_t row);
/* A row that is cleared, with a serial of its own and no descriptors; still ROW_FREE. false: there is none. */
bool engine_take_row(struct engine *e, uint32_t *ret);
/* A row was freed. */
void engine_row_freed(struct engine *e, uint32_t row);
bool engine_row_in_use(const struct engine *e, uint32_t row);
/* Between two workers: its session begins when it is settled whose it is. */
bool engine_row_moves(const struct engine *e, uint32_t row);

/* session_resume.c: the session of a row in use; one of a predecessor's is taken up first. NULL: it ended at that, or is on the
 * move. */
struct session *engine_session(struct engine *e, uint32_t row);
void engine_for_each(struct engine *e, void (*fn)(struct session *s));
/* Goes on with a row that another worker had begun. */
void engine_take_up(struct engine *e, uint32_t row);

/* engine_resume.c: some of those that are not taken up yet. */
void engine_adopt_some(struct engine *e);

#endif
