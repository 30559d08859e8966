/*
 * child.h - a process that the supervisor keeps running: started, heard, and replaced when it dies. What it says comes by a
 * socket, and on its stderr; what it is told goes by an outbox. One that cannot be started now is started as soon as it can be.
 */
#ifndef CHILDREN_CHILD_H
#define CHILDREN_CHILD_H

#include <sys/types.h>
#include "children/again.h"
#include "children/lastwords.h"
#include "event/loop.h"
#include "ipc/outbox.h"

struct child {
	struct loop *loop;
	char who[32];         /* for the log */
	pid_t pid;            /* 0: there is none */
	struct watch control; /* fd -1: it is not heard */
	struct outbox outbox;
	struct lastwords words;
	struct again again;
	int64_t started_ms; /* 0: never */
};

/* How one is forked: oom_fork() for what may be sacrificed first where memory is short, fork() for what keeps connections. */
typedef pid_t child_fork(void);

/* who: "the spawner". start: as of again_init(). emptied: as of outbox_init(). */
void child_init(struct child *c, struct loop *loop, const char *who, int (*start)(void *arg),
                void (*emptied)(void *arg), void *arg);
/* One process. become runs in it, with its end of the socket and what is to be its stderr, and does not return; heard: the socket's
 * events here. words: what the lines of its stderr begin with. 0; or -errno, and nothing has changed. */
int child_start(struct child *c, child_fork *fork_it, const char *words,
                void (*become)(void *arg, int control_fd, int err), void (*heard)(void *arg, uint32_t events),
                void *arg);
/* In it, for those that need nothing of the supervisor's but these descriptors: nothing else stays open, no capability
 * is left, and no terminal. */
void child_settle(const char *title, int err, int *keep, size_t n);
/* It is not heard any more; the socket is closed. */
void child_stop_hearing(struct child *c);
/* Says how it has ended, and that it is replaced; so it is, but not at once if it has just begun. status: as of waitpid(). */
void child_replace(struct child *c, int status);

#endif
