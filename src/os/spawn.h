/*
 * spawn.h - start one program in a session of its own, and end it.
 *
 * The kernel stores the new pid in a word of the caller's choice before the child runs its first
 * instruction, so a process that watches that word through shared memory knows of the child even if the
 * parent dies in the next moment. Nothing here waits: whether the program could be executed is told
 * through a pipe.
 */
#ifndef OS_SPAWN_H
#define OS_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct spawn {
	char *const *argv; /* argv[0] is the path; PATH is not searched */
	char *const *env;
	int fds[3];           /* become 0, 1 and 2, in blocking mode; may repeat, may be 0..2 */
	struct rlimit nofile; /* given to the program; rlim_max 0: left alone */
	mode_t umask;         /* likewise, always set */
	rlim_t file_max;      /* no file that it writes may become larger, or it dies of SIGXFSZ; 0: left alone */
	bool keep_cwd;        /* else / */
	bool keep_private;    /* what is permitted to us goes along (private.h) */
	int32_t *pid_word;    /* the pid is stored here; NULL: nowhere */
};

struct spawned {
	pid_t pid;
	int pidfd;   /* readable once the program has ended; the caller closes it */
	int exec_fd; /* readable once spawn_exec_result() knows; the caller closes it */
};

/* The program gets descriptors 0, 1, 2 and no other, cwd /, no signal ignored or blocked, the
 * limits above; its nice value and oom_score_adj stay ours. The caller's fds stay open. Returns 0 or -errno; *ret is then untouched. */
int spawn_program(const struct spawn *what, struct spawned *ret);

/* 0: it runs; a positive errno: it could not be executed (the child ends by itself); -EAGAIN: not
 * known yet. */
int spawn_exec_result(int exec_fd);

/* Sends sig to every process of the program's group, also when its leader has ended and was
 * reaped. sig 0 asks only. Returns 0, -ESRCH if there is none, or -errno. */
int spawn_signal(const struct spawned *p, int sig);

/* Takes the wait status of a program that has ended: 0 (no zombie is left) or -EAGAIN if it still
 * runs. If it was reaped elsewhere, the status is that of an exit with 255. */
int spawn_reap(const struct spawned *p, int *status);

#endif
