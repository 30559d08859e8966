/*
 * spawner.h - starts programs: handlers and access programs. The only part that executes anything.
 *
 * In daemon mode it is a process of its own; in inetd mode the same object sits on the one loop of
 * the one process, at the other end of a socket pair. It looks up the client's name before a
 * program needs it, builds the environment, starts the program in a session of its own with
 * exactly descriptors 0, 1, 2, logs its stderr line by line, watches time limits, reaps it.
 */
#ifndef SPAWNER_SPAWNER_H
#define SPAWNER_SPAWNER_H

#include <sys/resource.h>
#include "config/config.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "program/programs.h"
#include "program/question.h"

struct spawner; /* opaque */
struct trio;

struct spawner_setup {
	struct loop *loop;
	struct resolver *resolver;        /* for client names; NULL: numeric only */
	struct programs_shared *programs; /* shared with the spawners before and after us; NULL: with none */
	struct rlimit nofile;             /* given back to programs */
	unsigned umask;                   /* likewise */
	/* The read end of a program's stderr, still the spawner's: a process that keeps a copy saves the program
	 * from a SIGPIPE if the spawner dies. label: what its lines begin with. NULL: none does. */
	void (*keep_stderr)(void *arg, int fd, const char *label);
	/* A list program (a line `servers program` of the configuration) has printed a whole list. False: it cannot be told now, and
	 * will be again. NULL: nobody wants lists, and none is started. */
	bool (*list)(void *arg, const char *line, const char *text, size_t len);
	void *arg;
};

/* Returns 0 or -errno. */
int spawner_new(const struct spawner_setup *setup, struct spawner **ret);
/* Ends nothing by itself; see spawner_stop. To be called before resolver_free(), not from inside a
 * gone(). Takes NULL. */
void spawner_free(struct spawner *s);

/* A trio's channel (SOCK_SEQPACKET, nonblocking, owned from now on) and its slots (n of them, one per
 * row); trio: of what they are part, NULL: of nothing. gone(arg) is called when the other end was closed. Returns 0 or -errno. */
int spawner_add_channel(struct spawner *s, int fd, struct question_slot *slots, const struct trio *trio, uint32_t n,
                        void (*gone)(void *arg), void *arg);

/* After spawner_add_channel(fd): the program that the row's slot names was started by a spawner before this one. It is
 * looked after from now on as if it was ours, but its stderr and its answer are not. wanted: it has its client; else it
 * is ended, if the spawner that started it is dead and has not answered for it: its client was denied. */
void spawner_take_program(struct spawner *s, int fd, uint32_t row, bool wanted);

/* The checker's channel (program/check_question.h), in the place of one before it; owned from now on. Returns 0 or -errno. */
int spawner_set_checker(struct spawner *s, int fd);

/* The supervisor's channel (program/notice.h), likewise. */
int spawner_set_notices(struct spawner *s, int fd);

/* A new configuration of this generation, taken over (freed by the spawner). The last four are kept,
 * so that questions asked under the one before are still understood. */
void spawner_set_config(struct spawner *s, struct config *c, uint64_t generation);

/* Nobody hears lists any more: the programs that bring them are ended. */
void spawner_stop_lists(struct spawner *s);

/* Ends every program: TERM now, KILL 2 s later. done(arg) is called from a timer when none is left,
 * after 3 s at the latest; it may free the spawner. New questions fail. */
void spawner_stop(struct spawner *s, void (*done)(void *arg), void *arg);
unsigned spawner_running(const struct spawner *s);
/* Nothing runs, no worker asks, and no child that a program has left behind writes to its stderr any more. */
bool spawner_is_idle(const struct spawner *s);

#endif
