/*
 * state.h - the supervisor's own: what it has read, what it keeps, and where it stands. For the files of this folder alone; every
 * part below has its own struct, is handed what it needs, and reports by the callbacks that supervisor.c fills in.
 *
 *   start.c                    from the command line to a running daemon: sockets, pidfile, user (privileges.c)
 *   supervisor.c               the life: signals, and what follows from what the parts report
 *   rules.c, reload.c          a new configuration, taken whole or not at all
 *   members.c, list*.c         servers that come and go while it runs
 *   admin_sockets.c            the sockets at which we can be asked
 *   steer*.c, inspect.c        what the commands do that come there
 *   stop.c                     the ways to the end
 *   health.c, server_down.c    what follows when a server is not what it was
 *   announce.c, notify.c       what is said of it: in the log; to what started us
 */
#ifndef SUPERVISOR_STATE_H
#define SUPERVISOR_STATE_H

#include "children/children.h"
#include "children/phase.h"
#include "children/rules.h"
#include "event/loop.h"
#include "event/signals.h"
#include "files/files.h"
#include "ipc/admin_socket.h"
#include "log/logger.h"
#include "network/network.h"
#include "os/user.h"
#include "restart/restart.h"
#include "restart/retire.h"
#include "restart/upgrade.h"
#include "servers/dns.h"
#include "supervisor/members.h"
#include "supervisor/supervisor.h"

/* Where the servers of the configuration stand in the world; standings.c. */
struct standings {
	struct standing *list; /* of all sections, one after the other; NULL: not found yet */
	size_t *first;         /* of each section */
};

/* `state FILE`; steer_state.c. */
struct state_file {
	char *written; /* NULL: nothing yet, or it has failed */
	int error;     /* as was told; 0: none */
	bool wanted;   /* something may have changed */
	bool over;     /* the end: it is as it is */
	struct timer timer;
	char *late;          /* lines of servers that are not there yet, which a list or a name may bring; NULL: none */
	int64_t late_end_ms; /* until then */
	struct timer late_timer;
};

struct supervisor {
	const struct supervisor_setup *setup;
	struct loop loop;
	struct signals signals;
	struct logger *logger;
	struct files files;
	struct network network;
	struct watch network_watch;
	char *network_warnings; /* of its beginning, for the log; NULL: none, or they were said */
	enum phase phase;       /* see phase_set() */
	struct rules rules;
	struct members members;
	struct lists *lists;                /* lists.c; NULL: there are none */
	struct list_program *list_programs; /* list_programs.c; likewise */
	struct interface_address *ifs;
	size_t n_ifs;
	struct children children;
	struct upgrade upgrade;
	struct restart restart;
	struct retirees retirees; /* trios of another layout, or from before what only other ones can do */
	struct admin_sockets admin_sockets;
	struct admin_server *admin_server; /* that hears them; NULL: not started yet */
	struct admin *admin;               /* steer.c */
	struct inspect *inspect;           /* likewise */
	struct killing *killings;          /* steer_kill.c */
	struct standings standings;        /* standings.c */
	struct timer health_timer;         /* health.c */
	bool health_looked;                /* likewise: once at least */
	struct checking *checkings;        /* steer_check.c */
	struct timer drain_timer;          /* steer_drain.c */
	struct state_file state_file;
	int upgrade_client_fd; /* of the program before us: it waits for the answer; -1: none */
	char *identity;        /* the user we became, for the log; NULL: no other */
	char *pidfile;         /* NULL: none was written */
	struct timer stop_timer;
	struct timer watchdog_timer; /* systemd's */
};

/* start.c: everything up to (not including) the first child. 0, or the exit code. */
int supervisor_start(struct supervisor *s);
uint32_t supervisor_workers(const struct supervisor *s); /* that are to run */

/* privileges.c: the user we shall be (false: there is no such user, which was said); becoming that: 0, or the exit
 * code; that others may look into our processes, if so. */
bool privileges_identity(const struct config *c, struct identity *id);
int privileges_give_up(struct supervisor *s);
void privileges_tell_exposed(struct supervisor *s);

/* netadmin.c: while still root: what needs CAP_NET_ADMIN, if anything does; id: whom it becomes, NULL: nobody else. 0, or the exit code.
 * Then, with a loop, that it is heard. */
int netadmin_start(struct supervisor *s, const struct identity *id);
void netadmin_hear(struct supervisor *s);

/* notify.c: it runs: tells those that wait (the foreground process of -D, systemd); tells systemd that it serves, and
 * `trouble` (NULL: none): what was tried and failed. */
void notify_started(struct supervisor *s);
void notify_ready(const struct supervisor *s, const char *trouble);

/* rules.c: packs what holds as the next generation. 0 or -errno. */
int rules_pack(struct supervisor *s);
/* This configuration is in force from now on, and the others are told; the listening sockets are those of it already. The one before is
 * freed, but for s->members.read. */
void rules_take(struct supervisor *s, struct config *next);

/* room.c: before the world takes a configuration. */
void room_make(struct supervisor *s, const struct config *c);

/* reload.c: done, which may be NULL, is called now or, when something has changed, once all workers go by it, or after two seconds. ok:
 * false: nothing has changed, or not all go by it. text: what happened, in a line. */
void reload_begin(struct supervisor *s, void (*done)(void *arg, bool ok, const char *text), void *arg);
/* To the log: what is probably not meant. */
void reload_tell_warnings(const struct config *c);

/* stop.c: now; or with the last connection, accepting nothing more; whether it is so far. */
void stop_now(struct supervisor *s);
void stop_drain(struct supervisor *s);
/* The files of Unix sockets that listened in `old`, and do so no longer in `kept` (NULL: all), are removed. */
void stop_unlink(struct supervisor *s, const struct sockets *old, const struct sockets *kept);
void stop_check_gone(struct supervisor *s);
void stop_check_idle(struct supervisor *s);

/* health.c: a server is not what it was, says the checker: told to the log and to programs, and what follows for its connections. */
struct health_change {
	uint32_t seat;
	enum health_state state, was;
	const struct addr *at; /* that has said so; AF_UNSPEC: none */
	const char *why;
};
void health_tell(struct supervisor *s, const struct health_change *change);
/* Is any of them not what was told last? At the beginning, when all workers are ours; from then on once a second. */
void health_look(struct supervisor *s);
/* There is another configuration. */
void health_rules_changed(struct supervisor *s);

/* standings.c: of each server of this section; the server of a section that is this one, with the same checks (NULL: it has it not);
 * there is another configuration. */
const struct standing *standings_of(struct supervisor *s, const struct section *section);
const struct server *standings_find(struct supervisor *s, const struct section *section, uint32_t target,
                                    uint32_t seat);
void standings_forget(struct supervisor *s);
bool standings_ejects(struct supervisor *s, uint32_t target); /* some section may */

/* server_down.c: a check calls a server down; or an administrator does (seat SEAT_NONE), wherever he does. */
void server_down(struct supervisor *s, uint32_t target, uint32_t seat);

/* announce.c */
void announce_services(const struct supervisor *s);
/* What was said on stderr when we were started need not be said there once more. */
bool announce_is_enough(const struct supervisor *s);

/* supervisor.c */
void supervisor_remove_pidfile(struct supervisor *s);

#endif
