/* fixture.h - what the tests of steps stand on: connected pairs, peers, a private table, a loop. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "config/config.h"
#include "proxy/step.h"

enum pair_kind { PAIR_TCP, PAIR_UNIX };

/* Two connected sockets, ours as the proxy would have it, theirs nonblocking. size: of all their
 * buffers as far as the kernel goes; 0: its default. */
void make_pair(enum pair_kind kind, int size, int *ours, int *theirs);

/* n bytes in which every place can be told from every other one near it. */
void fill_pattern(char *buf, size_t n);

/* The far end of a connection: sends what it has, reads what comes, notes how it ended. */
struct peer {
	int fd;
	const char *out;
	size_t out_len, sent;
	bool fin;   /* shut down when all is sent */
	bool reset; /* reset when all is sent and acknowledged */
	bool reading;
	size_t read_at_once; /* at most, in a step; 0: all there is */
	char *in;
	size_t in_len, in_cap;
	bool shut; /* `fin` was done */
	bool eof;
	int error; /* the first one of recv(); positive errno */
	int send_error;
};

void peer_init(struct peer *p, int fd, const char *out, size_t len);
void peer_step(struct peer *p);
void peer_release(struct peer *p);
/* What has come is the first n bytes of the pattern, no more and no less. */
void assert_received(const struct peer *p, size_t n);

struct stage {
	struct loop loop;
	struct trio *trio;
	struct step_env env;
	struct row *row;
	struct row_cold *cold;
	int n_fds; /* open before it began */
};

void stage_init(struct stage *s);
void stage_release(struct stage *s); /* fails if a descriptor is left open */
int open_fds(void);

/* Turns until the condition holds; fails the test after 10 s. each(arg) is called before every
 * turn. */
#define UNTIL(stage, each, arg, condition)                                   \
	do {                                                                 \
		int64_t until_ = clock_mono_ms() + 10000;                    \
		for (each(arg); !(condition); each(arg)) {                   \
			assert_int_equal(loop_turn(&(stage)->loop, 5), 0);   \
			if (clock_mono_ms() > until_)                        \
				fail_msg("never came true: %s", #condition); \
		}                                                            \
	} while (0)

#endif
