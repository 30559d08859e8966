/*
 * supervisor.h - the process that was started: parses, binds, resolves, starts the others and watches
 * them, reloads, writes the log. It reads no byte of any client, and none needs it to go on.
 *
 *   start.c       from the command line to a running daemon: sockets, pidfile, user
 *   crew.c        the trios: starting them, what they say, their deaths
 *   spawning.c    the spawner, likewise
 *   upgrade.c     another program takes our place
 *   retire.c      trios of another version
 *   leave.c       systemd's TERM, which may be a restart
 *   page.c        the process that serves the page and the metrics
 *   admin.c       looking in and steering, by the admin sockets
 *   dump.c        the process that shows all bytes
 *   reload.c      a new configuration, taken whole or not at all
 *   supervisor.c  the loop: signals, children, stopping
 */
#ifndef DAEMON_SUPERVISOR_H
#define DAEMON_SUPERVISOR_H

#include <sys/resource.h>
#include "config/config.h"
#include "daemon/admin.h"
#include "daemon/adopt.h"
#include "daemon/balance.h"
#include "daemon/files.h"
#include "daemon/logger.h"
#include "daemon/names.h"
#include "daemon/page.h"
#include "daemon/retire.h"
#include "daemon/sockets.h"
#include "daemon/stderrs.h"
#include "daemon/wire.h"
#include "event/loop.h"
#include "event/signals.h"
#include "program/run.h"
#include "proxy/world.h"

struct supervisor;

/* What the command line amounts to. */
struct supervisor_setup {
	struct config *config;      /* the supervisor's from now on */
	const char *config_path;    /* absolute; NULL: no file */
	const char *what;           /* what is served: the real path of the file, or the -b list */
	bool daemon;                /* -D */
	bool dump;                  /* --dump, to stderr or to dump_path (absolute) */
	const char *dump_path;
	const char *binary;         /* the program's absolute path, symbolic links kept */
	char *const *argv;          /* what it was started with */
	/* For a reload: the file once more, read through `world`, with the same options. NULL: *errors says
	 * why. */
	struct config *(*reload)(void *arg, const struct config_world *world,
				 struct config_errors *errors);
	void *arg;
	const struct config_world *world; /* the plain one */
	int lifeline_fd;            /* leave_inherit() */
};

/* A trio, as the supervisor sees it. */
struct crew {
	struct supervisor *supervisor;
	uint32_t number;
	struct trio *trio;
	struct ring *ring;
	int memfd, door_fd, wake_fd;
	struct watch wake;
	struct watch control;
	struct timer drain_timer;
	unsigned deaths_seen;
	bool idle;          /* WIRE_IDLE came */
	bool adopted;       /* it knows us as its supervisor */
	unsigned adoption;  /* the trio's supervisor_serial then (leave.c) */
	bool ending;        /* told to end by the caretaker */
	struct timer knock_timer;
};

struct supervisor {
	const struct supervisor_setup *setup;
	struct config *config;
	uint64_t generation;
	struct loop loop;
	struct signals signals;
	struct logger *logger;
	struct files files;
	struct sockets sockets;
	struct interface_address *ifs;
	size_t n_ifs;
	struct world *world;
	int world_fd;
	struct orphans orphans;    /* trios of a supervisor that died; n 0: none */
	uint32_t n_adopted;        /* of them have said that they are ours now */
	struct retirees retirees;  /* trios of another layout, or from before what only other ones can do */
	const char *retire_why;    /* NULL: another layout */
	uint64_t first_id;         /* of our access records; 0: begin with the first */
	struct names *names;
	int rules_fd;              /* sealed memfd of the present generation */

	struct crew *crews;
	uint32_t n_crews;
	struct balance balance;
	struct trio *trios[WORLD_WORKERS];
	int rearm_fds[WORLD_WORKERS];
	int doors[WORLD_WORKERS];  /* made while still root; -1: none */

	pid_t spawner_pid;
	struct watch spawner_control;
	struct watch old_spawner;  /* of the program before us: it stays until its programs have ended */
	int old_spawner_fd;        /* -1: none */
	int64_t spawner_started_ms;
	struct stderrs *stderrs;   /* of the programs that it started */
	struct timer spawner_timer;

	struct rlimit nofile_before;
	unsigned umask_before;
	char *identity;            /* whom we became, for the log; NULL: nobody else */
	char *pidfile;             /* NULL: none was written */
	bool quitting, stopping;

	/* leave.c */
	bool leaving;              /* TERM came from a manager: what does it keep for us? */
	int lifeline_fd;           /* hangs up when the service is stopped */
	int inherited_fd;          /* the other end of our predecessor's, -1: none */
	struct watch barrier;

	char *formats[WORLD_LABELS]; /* log-format of the section with this label; NULL: the usual text */
	int dump_fd;               /* where to write; -1: it is not wanted, or has begun */
	struct dump {
		pid_t pid;         /* 0: there is none */
		uint64_t number;   /* of its tap */
		int n, fds[SOCK_MAX_FDS + 1]; /* as from tap_new(); [0] is the process's alone */
	} dump;
	struct admin_sockets admin_sockets;
	struct admin *admin;       /* NULL: not started yet */
	struct page page;
	int upgrade_client_fd;     /* of the program before us: it waits for the answer; -1: none */

	/* upgrade.c */
	bool upgraded;             /* we have just become this program */
	int guard_fd;              /* to the old one that waits in case we fail; -1: none */
	struct run check;          /* trial.c: the new program, tried */
	bool checking, check_passed;
	bool rehearsing;           /* else --check */
	bool upgrade_told;         /* how it went */
	int check_out;             /* what it printed */
	struct timer check_timer, renew_timer, reap_timer;
	uint32_t renewing;         /* the crew that becomes the new program now; n_crews: none */
	uint32_t n_renewed;
	unsigned renewals, renewals_failed;
	const char *renew_why;     /* "upgrade" */
	int64_t renew_deadline_ms;
	struct timer stop_timer;
	struct timer watchdog_timer; /* systemd's */
	struct watch ready_pipe;
};

/* Serves until it is told to stop. Returns the exit code. */
int supervisor_run(const struct supervisor_setup *setup);

/* start.c: everything up to (not including) the first child. 0, or the exit code. */
int supervisor_start(struct supervisor *s);
uint32_t supervisor_workers(const struct supervisor *s); /* that are to run */
/* It runs: tells whoever waits (the foreground process of -D, systemd). */
void supervisor_ready(struct supervisor *s);
/* Tells systemd that it serves; `trouble` (NULL: none): what was tried and failed. */
void supervisor_tell_ready(const struct supervisor *s, const char *trouble);

/* crew.c */
int crews_start(struct supervisor *s);
void crew_send(struct crew *c, const struct wire *w, const int *fds, size_t n_fds);
void crews_send(struct supervisor *s, const struct wire *w, const int *fds, size_t n_fds);
void crew_drain(struct crew *c);         /* what stands in its ring goes to the log */
void crews_kill(struct supervisor *s);
bool crews_gone(const struct supervisor *s);
bool crew_alive(const struct crew *c);   /* anyone of its three */

/* spawning.c */
int spawner_start(struct supervisor *s); /* and gives every worker a channel to it */
bool spawner_hear(struct supervisor *s); /* logs what it has said so far; false: that was its last word */
/* What the programs say that the old program's spawner has started goes on being logged. */
void spawner_hear_old(struct supervisor *s);
void spawner_lost(struct supervisor *s); /* hears its last words, forgets it */

/* dump.c: opens the file, while we are still root: 0, or the exit code; starts the process, before there are workers;
 * tells one of them, before it has listeners; the process has ended; waits for its end, which follows that of the
 * workers. */
int dump_open(struct supervisor *s);
void dump_start(struct supervisor *s);
void dump_tell(struct crew *c);
void dump_lost(struct supervisor *s);
void dump_wait(struct supervisor *s);

/* reload.c */
/* false: nothing has changed. text: what happened, in a line; may be NULL. */
bool supervisor_reload(struct supervisor *s, struct buf *text);
/* Packs s->config into s->rules_fd as the next generation. 0 or -errno. */
int supervisor_pack_rules(struct supervisor *s);
/* Sends listeners of `now` that `before` (NULL: none) lacks, to one crew or to all (NULL). */
void supervisor_send_listeners(struct supervisor *s, struct crew *to, const struct sockets *now,
			       const struct sockets *before);

/* trial.c */
/* Begins an upgrade; admin_upgrade_over() is told how it went. false: one is under way already. */
bool supervisor_upgrade(struct supervisor *s);
/* Everything stops, or is left to others: a trial under way is ended. */
void trial_stop(struct supervisor *s);
/* In the new program, once it has understood its command line: if this is a trial, says so and ends. */
void trial_passed(void);

/* upgrade.c */
/* The trial has gone well: the supervisor becomes the new program. */
void upgrade_become(struct supervisor *s);
/* For the log, and for whoever asked for it; the first reason is the one that is told. */
void upgrade_failed(struct supervisor *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* First thing: what the old program has left us. false: this is no upgrade. */
bool upgrade_inherit(struct supervisor *s);
/* We are the old program once more, as another process. */
bool upgrade_was_rolled_back(const struct supervisor *s);
/* The trios are ours: the guard may go, and they become the new program, too. */
void upgrade_taken_over(struct supervisor *s);
/* We shall not fail any more, or are to end: nobody has to take our place. */
void upgrade_release_guard(struct supervisor *s);
/* The trios are of another layout and will be retired: the guard goes on as their last reader. false: there is none. */
bool upgrade_leave_reader(struct supervisor *s);
/* Each trio becomes the program that we are. why: for the log. */
void upgrade_workers(struct supervisor *s, const char *why);

/* supervisor.c */
void supervisor_stop(struct supervisor *s);
void supervisor_check_stopped(struct supervisor *s);
void supervisor_check_idle(struct supervisor *s);
void supervisor_remove_pidfile(struct supervisor *s);

#endif
