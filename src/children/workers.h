/*
 * workers.h - the trios, as the supervisor sees them: started or found, told, heard, replaced.
 *
 *   workers.c        their lives
 *   worker_outbox.c  what one is sent
 *   told.c           what of the configuration they go by
 *   ring_reader.c    what they write into the log, which members have died
 *   balance.c        which of them has too much
 */
#ifndef CHILDREN_WORKERS_H
#define CHILDREN_WORKERS_H

#include "children/adopt.h"
#include "children/child.h"
#include "children/phase.h"
#include "children/rules.h"
#include "children/strangers.h"
#include "children/told.h"
#include "ipc/stick.h"
#include "ipc/wire.h"
#include "ipc/world.h"
#include "log/logger.h"
#include "takeover/table.h"

/* One trio: a worker and its two keepers. */
struct worker {
	struct workers *workers;
	uint32_t number;
	struct trio *trio;
	uint32_t n_rows; /* when it began */
	struct ring *ring;
	int memfd, door_fd, wake_fd;
	struct watch wake;
	struct child child; /* pid: of its first process, while we have started it */
	struct told told;
	struct timer drain_timer;
	unsigned deaths_seen;
	bool idle;         /* WIRE_IDLE came */
	bool adopted;      /* it knows us as its supervisor */
	unsigned adoption; /* the trio's supervisor_serial then (restart/caretaker.c) */
	bool ending;       /* told to end by the caretaker */
	struct timer reconnect_timer;
	pid_t session; /* of its members, which cannot leave it; 0: of a version that had none for itself */
};

/* What they report. */
struct workers_events {
	void (*begun)(void *arg, struct worker *w); /* a new one, which knows nothing yet */
	void (*mute)(void *arg);                    /* one that begins late: it has no channel to the spawner */
	void (*imbalance)(void *arg, bool busy);    /* one has more than others: connections, or to do */
	void (*ejected)(void *arg);                 /* one has ejected servers, or may have */
	void (*moved)(void *arg, uint32_t worker, uint32_t n); /* it is through with giving, and has given n away */
	void (*adopted)(void *arg); /* the last that was found is ours, or was lost meanwhile */
	void (*idle)(void *arg);    /* one has no connection left */
	void (*gone)(void *arg);    /* one has ended, while all stop */
	void (*tcp_info_written)(void *arg, uint32_t worker, uint64_t request); /* what TCP says of its rows */
};

struct workers {
	/* handed to it, before workers_start() */
	struct loop *loop;
	const enum phase *phase;
	struct logger *logger;
	const struct rules *rules;
	struct world *world;
	struct world_fds world_fds;
	const char *what;         /* is served: their doors are named after it */
	uint64_t key;             /* by which trios know a supervisor of their own user (ipc/rendezvous.h) */
	int doors[WORLD_WORKERS]; /* made while still root; -1: none */
	struct orphans orphans;   /* trios of a supervisor that died; n 0: none */
	struct strangers strangers;
	const struct workers_events *events;
	void *arg;
	uint32_t n;
	/* sticks.c */
	struct stick stick; /* all 0: nothing sticks */
	int stick_fd;
	uint64_t stick_number;           /* one more for each that was made; 0: none */
	const struct blank_list *blanks; /* where blank sockets wait (network/network.h); NULL: nowhere */
	/* its own */
	struct worker *list;
	bool rolling; /* one after the other they become another program (restart/rolling.c) */
	struct trio *trios[WORLD_WORKERS];
	int rearm_fds[WORLD_WORKERS];
	int pidfd;            /* our own, while one is forked */
	uint32_t n_adopted;   /* of those that were found have said that they are ours now */
	uint64_t told_number; /* of what they are told last, all of them (told.h) */
	struct told_waiter *told_waiters;
};

/* Starts w->n of them, those that were found included. 0 or -errno. */
int workers_start(struct workers *ws);
void workers_kill(struct workers *ws);
bool workers_gone(const struct workers *ws);
/* Those that cannot be started now are not wanted any more. */
void workers_cancel(struct workers *ws);
/* No member is replaced any more: they are to end. */
void workers_mark_stopping(struct workers *ws);
/* What stands in their rings goes to the log. */
void workers_drain(struct workers *ws);
/* Is this process in a session of theirs: a member, or one that a member has made? */
bool workers_have_session(const struct workers *ws, pid_t session);

/* Is anyone of its three alive? */
bool worker_alive(const struct worker *w);
/* member: as the trio says, which may be anything. Returns false if there is no such process, or none of a trio's. */
bool worker_signal(const struct worker *w, int member, int sig);

/* worker_outbox.c. We never wait: what cannot be sent now is sent later (ipc/outbox.h). */
void worker_send(struct worker *w, const struct wire *m, const int *fds, size_t n_fds);
/* A link to another trio, whose memory is to be read and not written. */
void worker_send_link(struct worker *w, const struct wire *m, int link, int memfd);
void workers_send(struct workers *ws, const struct wire *m, const int *fds, size_t n_fds);

#endif
