/*
 * fixture.h - what the tests of children/ share: a loop whose time the test says, the log as text, and fake children, which write
 * down what they find. At the end of a test as many descriptors are open as at its beginning, and no child is left.
 */
#ifndef TESTS_CHILDREN_FIXTURE_H
#define TESTS_CHILDREN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <cmocka.h>
#include "event/loop.h"

extern struct loop loop;
extern int64_t now_ms; /* what clock_mono_ms() says */

void fixture_begin(void);
void fixture_end(void);
/* The same but for the loop, for a test that needs none. */
void fixture_begin_without_loop(void);
void fixture_end_without_loop(void);

/* All that can be done now, without waiting for anybody. */
void turn(void);
/* So much time passes. */
void pass(int64_t ms);
/* What another process is about to do is waited for; no time passes. */
#define TURN_UNTIL(condition)                                              \
	do {                                                               \
		for (int turns = 0; turns < 2000 && !(condition); turns++) \
			assert_int_equal(loop_turn(&loop, 10), 0);         \
		assert_true(condition);                                    \
	} while (0)

/* ---- the log ---- */

/* How many of its lines have this in them. */
unsigned logged(const char *part);
/* Which of its lines is the first that has; -1: none. */
int log_line(const char *part);
void forget_log(void);

/* ---- descriptors ---- */

unsigned fds_open(void);
bool fd_is_open(int fd);
/* From now on so many more can be opened; -1: as many as before. */
void leave_room(int n);
/* One that can be told from others: the end of a pipe. Its other end is closed. */
int any_fd(void);

/* ---- fake children ---- */

#define FOUND_FDS 64

/* What the last one has found when it began, in memory that is shared with it. */
struct found {
	pid_t pid;
	int n_fds, fds[FOUND_FDS]; /* that are open, 0 to 2 apart */
	bool null_in, null_out, pipe_err, nonblocking_err;
	bool leads_session, privileged, no_new_privs;
	int death_signal;
	uint64_t ignored, caught, blocked; /* a bit for each signal */
	char title[64];
};
extern struct found *found;

/* In a fake child: writes it down. It ends in any case, with its parent or some time later. */
void find(void);
bool has_found(int fd);
/* In a fake child, when it has done all: lives until its parent closes the other end of the socket. */
_Noreturn void live_until_hangup(int control_fd);
/* Waits for the end of a child (-1: of the one there is). Returns its status. */
int await(pid_t pid);

#endif
