/*
 * fixture.h - what a supervisor has, for the tests of restart/: trios of which the test is the other end, a log, the manager that has
 * started it, a clock that goes when the test says so; and a count of what must not be left in the end.
 */
#ifndef TESTS_RESTART_FIXTURE_H
#define TESTS_RESTART_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/types.h>
#include "children/children.h"
#include "files/files.h"
#include "network/network.h"
#include "ipc/admin_socket.h"

#define FIXTURE_WORKERS     2
#define FIXTURE_PATIENCE_MS 20000 /* passing tests never wait that long */
#define FIXTURE_ADMIN       "/run/test/admin.sock"

extern struct loop loop;
extern enum phase phase;
extern struct children children;
extern struct rules rules;
extern struct files files;
extern struct network network;
extern struct admin_sockets admin_sockets; /* one */
extern int theirs[FIXTURE_WORKERS];        /* the trios' ends */
extern int spawner_theirs;
extern int gone, idle; /* events of the trios */

/* In memory that all processes of a test share. */
extern int64_t *now_ms; /* what clock_mono_ms() says */
extern char *log_text;  /* a line each */

int fixture_setup(void **state);
/* Fails if a process or a descriptor is left. */
int fixture_teardown(void **state);

/* One turn of the loop, and what is due after so much time. */
void fixture_turn(void);
void fixture_pass(int64_t ms);
#define UNTIL(condition)                                                   \
	do {                                                               \
		int64_t end_ = fixture_real_ms() + FIXTURE_PATIENCE_MS;    \
		while (!(condition)) {                                     \
			if (fixture_real_ms() > end_)                      \
				fail_msg("this never comes: " #condition); \
			fixture_turn();                                    \
		}                                                          \
	} while (0)
int64_t fixture_real_ms(void);

/* A process that runs fn, without the other ends of anything; with status 99 if that returns. It does not outlive the test. When this
 * returns, it has closed them. */
pid_t fixture_fork(void (*fn)(void));
extern int *fixture_ends; /* of the test's own, too */
extern size_t fixture_n_ends;
/* One that does nothing: a member of a trio. */
pid_t fixture_sleeper(void);
bool fixture_runs(pid_t pid);
/* Waits for its end. Returns its status as of waitpid(). */
int fixture_end_of(pid_t pid);
void fixture_kill(pid_t pid);
/* What is still to come of processes that others have left to us. */
void fixture_reap(void);
size_t fixture_open_fds(void);
bool fixture_is_open(int fd);
bool fixture_goes_over_exec(int fd);

/* All that stands in a control socket, "ADOPT+1 RETIRE": the number of descriptors behind each. The first is waited for. */
const char *fixture_await(int fd);
const char *fixture_read(int fd);
/* The last of these messages. */
extern struct wire fixture_wire;
/* A message to the supervisor. */
void fixture_say(int fd, const struct wire *w);

/* What the logger has written, as text. */
const char *fixture_logged(void);
/* A line in the ring of a trio. */
void fixture_write_line(uint32_t worker, const char *text);

/* What the manager is told; it gets what is to be stored, and answers. */
void fixture_manager_begin(void);
/* The next message, waited for. *fd: what came with it, -1: nothing. */
const char *fixture_manager_hear(int *fd);
bool fixture_manager_has_heard_all(void);
void fixture_manager_end(void);

#endif
