/*
 * load.h - client and server of the measurements, with every byte of theirs known.
 *
 * A connection begins with a hello of the client, 16 bytes that say what the server is to do.
 * Everything else in either direction is the stream of pattern_at(), shifted by the hello's seed,
 * so a byte that is lost, doubled, changed or of another connection is noticed. Both ends are
 * plain: level-triggered epoll, one receive an event.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HELLO_MAGIC 0x7470626du
#define SLICE       (64 * 1024)  /* what a bulk sender hands over at once */
#define GULP        (128 * 1024) /* what a receiver asks for at once */

enum mode {
	MODE_EXCHANGE = 'e', /* the server answers the hello with itself, then each `size` bytes with `size` */
	MODE_SHORT = 's',    /* one request of `size` bytes, the hello included; one answer of as many */
	MODE_DOWN = 'd',     /* answers the hello; after one more byte it sends without end */
	MODE_UP = 'u',       /* answers the hello; swallows without end */
	MODE_BOTH = 'b',     /* both */
	MODE_LATE = 'l',     /* after the client's FIN and a pause: `size` bytes and a FIN */
};

struct hello {
	uint32_t magic;
	uint32_t mode;
	uint32_t size;
	uint32_t seed;
};

/* -- pattern.c */

void pattern_init(void);
/* `n` <= GULP bytes of the stream of `seed` from `offset` on. */
const void *pattern_at(uint32_t seed, uint64_t offset, size_t n);
/* Ends the program with a message if `bytes` are others. Of a long stream only both ends of each
 * piece are looked at: to compare all would cost as much as to receive it. */
void pattern_check(const void *bytes, size_t n, uint32_t seed, uint64_t offset);

/* Different streams for the two directions. */
#define SEED_UP(seed)   (seed)
#define SEED_DOWN(seed) ((seed) + 500009u)

/* -- cpu.c */

/* Nanoseconds of CPU of a process and all below it, those that have ended (and were waited for)
 * included. 0 if it is gone. */
uint64_t cpu_of_tree(pid_t root);

/* -- util.c */

uint64_t now_ns(void); /* monotonic */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* -- the two programs; they return what main() returns */

int serve(int argc, char **argv);
int drive(int argc, char **argv);
int hold(int argc, char **argv);

#endif
